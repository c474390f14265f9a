/** Chooses a system: from the list beside the page, by its address, or from the visitor's machine. */
import type { JSX, RefObject } from "preact";
import { useId, useState } from "preact/hooks";
import { systemAddress } from "../lib/address";
import { formatBytes } from "../lib/format";
import { openSystem } from "../state/open";
import { useStore } from "../state/store";
import { FromDisk } from "./bring";
import { Kept } from "./kept";

export function SystemDialog({ dialog }: { dialog: RefObject<HTMLDialogElement | null> }): JSX.Element {
  const { session, page } = useStore();
  const [url, setUrl] = useState("");
  const id = useId();
  const close = (): void => dialog.current?.close();
  const open = (target: string): void => {
    close();
    openSystem({ page }, target);
  };
  const catalog = session.catalog.value;
  const typed = (): string => catalog.find(({ name }) => name === url.trim())?.url ?? systemAddress(url);
  const chosen = page.state.value.system;
  return (
    <dialog ref={dialog} class="system-dialog" aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>Choose a system</h2>
      {catalog.length === 0 && <p>There is no list of systems beside this page.</p>}
      <ul>
        {catalog.map((entry, index) => (
          <li key={entry.url}>
            <button
              type="button"
              aria-current={[entry.url, entry.name].includes(chosen) || (chosen === "" && index === 0)}
              onClick={() => open(index === 0 ? "" : entry.url)}
            >
              <b>{entry.name}</b> <small>{`${entry.pattern} · ${formatBytes(entry.sizeBytes)}`}</small>
              <span>{entry.description}</span>
            </button>
          </li>
        ))}
      </ul>
      <label for={id}>Or the address of a system.json or of a repository on the Hugging Face Hub</label>
      <div class="system-url">
        <input
          id={id}
          type="text"
          inputMode="url"
          value={url}
          placeholder="https://…/system.json or owner/name"
          onInput={(event) => setUrl(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && url.trim() !== "") open(typed());
          }}
        />
        <button type="button" disabled={url.trim() === ""} onClick={() => open(typed())}>
          Open
        </button>
      </div>
      <p class="fine">
        A system contains data and compiled WebAssembly, which run on your graphics card. Open only systems
        that you trust.
      </p>
      <FromDisk onOpen={close} />
      <Kept dialog={dialog} />
      <button type="button" class="link" onClick={close}>
        Close
      </button>
    </dialog>
  );
}
