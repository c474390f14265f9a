/** Change it: pattern, order, roles, edges, decoding, tools, prompts. Applied at once and kept in the link. */
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { isChanged } from "../model/url";
import { Arrange } from "../parts/arrange";
import { Decoding } from "../parts/decoding";
import { AllPrompts } from "../parts/prompts";
import { Tools } from "../parts/tool-settings";
import { useStore } from "../state/store";

export function ChangeView(): JSX.Element {
  const { session, page } = useStore();
  const system = session.system.value;
  if (!system) return <div class="stage-blank" />;
  const disabled = session.busy.value;
  return (
    <div class="change">
      <div class="view-head">
        <h2>Make it another system</h2>
        <div class="view-tools">
          <CopyLink />
          <button
            type="button"
            class="button"
            disabled={disabled || !isChanged(page.state.value)}
            onClick={page.reset}
          >
            Back to the system’s own
          </button>
        </div>
      </div>
      <p class="view-lead">
        Whatever you change is used by the next run and kept in this page’s address, so a link carries it to
        others. Roles are the exception: they are only the names shown for the agents, which never read them.
        The links between agents were trained for the system as it is; see what they make of yours.
      </p>
      <fieldset disabled={disabled}>
        <Arrange system={system} />
        <Decoding system={system} />
        <Tools system={system} />
        <AllPrompts system={system} />
      </fieldset>
    </div>
  );
}

function CopyLink(): JSX.Element {
  const copied = useSignal(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(window.location.href);
      copied.value = true;
      setTimeout(() => {
        copied.value = false;
      }, 2000);
    } catch {
      window.prompt("The link to this configuration:", window.location.href);
    }
  };
  return (
    <button type="button" class="button" onClick={() => void copy()}>
      <span aria-live="polite">{copied.value ? "Copied" : "Copy link"}</span>
    </button>
  );
}
