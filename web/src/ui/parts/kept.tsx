/** The files that this browser keeps, by system, and buttons that delete them. */
import { useSignal } from "@preact/signals";
import type { JSX, RefObject } from "preact";
import { useEffect } from "preact/hooks";
import { forgetFiles, type KeptFile, keptFiles } from "../../engine/api";
import { formatBytes, formatCount, totalBytes } from "../lib/format";
import { groups } from "../lib/groups";
import { forgetPage } from "../lib/storage";
import { useStore } from "../state/store";

/** @param dialog - the list is read again whenever this dialog opens. */
export function Kept({ dialog }: { dialog: RefObject<HTMLDialogElement | null> }): JSX.Element {
  const { remembered } = useStore();
  const files = useSignal<readonly KeptFile[]>([]);
  useEffect(() => {
    const look = (): void => {
      void keptFiles().then((found) => {
        files.value = found;
      });
    };
    const element = dialog.current;
    look();
    element?.addEventListener("toggle", look);
    return () => element?.removeEventListener("toggle", look);
  }, [dialog, files]);
  const forget = async (some: readonly KeptFile[]): Promise<void> => {
    await forgetFiles(some);
    files.value = await keptFiles();
    // A system with missing files must not download them without asking.
    remembered.clear();
    if (files.value.length === 0) await forgetPage();
  };
  const bySystem = groups(files.value, ({ system }) => system);
  return (
    <section class="kept" aria-label="Kept in this browser">
      <h3>Kept in this browser</h3>
      {bySystem.length === 0 ? (
        <p class="fine">Nothing. Downloaded files are kept here, so that the next visit needs no network.</p>
      ) : (
        <>
          <ul>
            {bySystem.map((some) => (
              <KeptSystem
                key={some[0].system}
                system={some[0].system}
                files={some}
                onForget={() => void forget(some)}
              />
            ))}
          </ul>
          {bySystem.length > 1 && (
            <button type="button" class="link" onClick={() => void forget(files.value)}>
              Delete everything
            </button>
          )}
        </>
      )}
    </section>
  );
}

interface KeptSystemProps {
  readonly system: string;
  readonly files: readonly KeptFile[];
  readonly onForget: () => void;
}

function KeptSystem({ system, files, onForget }: KeptSystemProps): JSX.Element {
  const name = system || "an earlier version of this page";
  const bytes = totalBytes(files);
  return (
    <li>
      <details>
        <summary>
          <b>{name}</b>{" "}
          <small>
            {formatBytes(bytes)} in {formatCount(files.length)} {files.length === 1 ? "file" : "files"}
          </small>
        </summary>
        <ul class="load-files">
          {files.map((file) => (
            <li key={file.sha256}>
              <code title={`sha256 ${file.sha256}`}>{file.path || file.sha256.slice(0, 12)}</code>
              <span>{formatBytes(file.sizeBytes)}</span>
            </li>
          ))}
        </ul>
      </details>
      <button type="button" class="link" aria-label={`Delete the files of ${name}`} onClick={onForget}>
        Delete
      </button>
    </li>
  );
}
