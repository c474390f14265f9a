/** The Change view: pattern, order, roles, edges, decoding, tools and prompts. Changes apply at once and go into the link. */
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { isChanged, printAddress } from "../model/url";
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
        <h2>Change the system</h2>
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
        The next run uses your changes. They are also part of this page’s address, so you can share them as a
        link; texts too long for an address stay in this tab. Roles are only the names that the page shows;
        the agents never read them. The links between the agents were trained for the system’s own settings,
        so other settings may give worse answers.
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
  const { page } = useStore();
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
  const done = printAddress(page.state.value).whole ? "Copied" : "Copied without the longest texts";
  return (
    <button type="button" class="button" onClick={() => void copy()}>
      <span aria-live="polite">{copied.value ? done : "Copy link"}</span>
    </button>
  );
}
