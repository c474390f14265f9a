/** Opens what the visitor brings: a system's folder, other links or a saved run. */
import { EngineError, type LocalFiles, planRun } from "../../engine/api";
import { FormatError } from "../../formats/errors";
import { readSavedRun } from "../../formats/saved-run";
import { recognise } from "../model/folder";
import { INITIAL } from "../model/url";
import type { Store } from "./store";

/** The settings that make sense for one system only. */
const OF_A_SYSTEM = [
  "number",
  "question",
  "fields",
  "order",
  "roles",
  "off",
  "prompts",
  "firstPrompts",
  "singlePrompts",
] as const;

/** Opens a system by its address and drops the settings of the previous one. */
export function openSystem({ page }: Pick<Store, "page">, address: string): void {
  page.set({ ...Object.fromEntries(OF_A_SYSTEM.map((name) => [name, INITIAL[name]])), system: address });
}

/**
 * Shows a saved run.
 *
 * @throws FormatError, or EngineError `busy`.
 */
export function openRun({ session, watch }: Pick<Store, "session" | "watch">, text: string): void {
  const run = readSavedRun(text);
  try {
    // The page draws a run as it was planned.
    planRun(run.system, run.options);
  } catch (error) {
    throw new FormatError(`this saved run contradicts itself: ${EngineError.from(error).message}`);
  }
  refuseWhile(watch.job.running.value);
  watch.open(run);
  session.dismissProblem();
}

function refuseWhile(busy: boolean): void {
  if (busy) throw new EngineError("busy", "files cannot be opened during a run; wait for it or cancel it");
}

/** Opens files that were dropped or picked. If that fails, the session shows the problem. */
export async function openFiles(store: Store, reading: LocalFiles | Promise<LocalFiles>): Promise<void> {
  const { session, page } = store;
  try {
    const given = await recognise(await reading);
    refuseWhile(session.busy.value);
    if (given.kind === "folder") {
      const address = session.addFolder(given.folder);
      // The folder may contain other files by now.
      if (page.state.value.system === address) {
        store.clear();
        await session.open(address);
      } else openSystem(store, address);
    } else if (given.kind === "links") {
      await session.useLinks(given.links);
    } else {
      openRun(store, given.text);
      page.set({ view: "inside" });
    }
  } catch (error) {
    session.fail(error);
  }
}
