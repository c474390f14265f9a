/** Opens what the visitor drops on the page or picks from the disk. */
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { filesOfDrop, filesOfInput } from "../model/folder";
import { openFiles } from "../state/open";
import { useStore } from "../state/store";

/** Accepts files dropped anywhere on the page, and says so while the visitor drags them over it. */
export function DropTarget(): JSX.Element {
  const store = useStore();
  const over = useSignal(false);
  useEffect(() => {
    const holdsFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
    const onOver = (event: DragEvent): void => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      over.value = true;
    };
    const onLeave = (event: DragEvent): void => {
      if (event.relatedTarget === null) over.value = false;
    };
    const onDrop = (event: DragEvent): void => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      over.value = false;
      if (event.dataTransfer) void openFiles(store, filesOfDrop(event.dataTransfer.items));
    };
    window.addEventListener("dragover", onOver);
    window.addEventListener("dragleave", onLeave);
    window.addEventListener("drop", onDrop);
    return () => {
      window.removeEventListener("dragover", onOver);
      window.removeEventListener("dragleave", onLeave);
      window.removeEventListener("drop", onDrop);
    };
  }, [store, over]);
  return (
    <div class={over.value ? "drop-target over" : "drop-target"} aria-hidden="true">
      <p>Drop a system’s folder, a recursivelink.json or a saved run</p>
    </div>
  );
}

/** Buttons that pick files, for the keyboard and for those who prefer them. */
export function FromDisk({ onOpen }: { onOpen: () => void }): JSX.Element {
  const store = useStore();
  const { session } = store;
  const links = session.links.value;
  return (
    <section class="from-disk" aria-label="From this machine">
      <h3>From this machine</h3>
      <p class="fine">
        Open a folder that “rmas build” made, or other links for the agents that are open. You can also drop
        them anywhere on the page. Nothing is uploaded.
      </p>
      <div class="from-disk-row">
        <Picker label="Open a system’s folder" folder onOpen={onOpen} />
        <Picker label="Open other links" folder={false} onOpen={onOpen} disabled={!session.system.value} />
        {links && (
          <button
            type="button"
            class="button"
            disabled={session.busy.value}
            onClick={() => {
              onOpen();
              void session.useLinks(undefined);
            }}
          >
            Use the system’s own links
          </button>
        )}
      </div>
    </section>
  );
}

interface PickerProps {
  readonly label: string;
  readonly folder: boolean;
  readonly disabled?: boolean;
  readonly onOpen: () => void;
}

function Picker({ label, folder, disabled, onOpen }: PickerProps): JSX.Element {
  const store = useStore();
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (input.current) input.current.webkitdirectory = folder;
  }, [folder]);
  return (
    <>
      <button
        type="button"
        class="button"
        disabled={disabled || store.session.busy.value}
        onClick={() => input.current?.click()}
      >
        {label}
      </button>
      <input
        ref={input}
        type="file"
        hidden
        onChange={(event) => {
          const picked = event.currentTarget.files;
          if (!picked || picked.length === 0) return;
          const files = filesOfInput(picked);
          event.currentTarget.value = "";
          onOpen();
          void openFiles(store, files);
        }}
      />
    </>
  );
}
