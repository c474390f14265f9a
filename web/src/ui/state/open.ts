/** Opening what a visitor brings: a system's folder, other links, a saved run. */
import { EngineError, type LocalFiles } from "../../engine/api";
import { recognise } from "../model/folder";
import { INITIAL } from "../model/url";
import { readTrace } from "../trace/file";
import type { Store } from "./store";

/** What belongs to one system and makes no sense for the next. */
const OF_A_SYSTEM = ["number", "question", "order", "roles", "off", "prompts", "firstPrompts"] as const;

/** Opens a system by its address, with nothing left of the one before. */
export function openSystem({ page }: Pick<Store, "page">, address: string): void {
  page.set({ ...Object.fromEntries(OF_A_SYSTEM.map((name) => [name, INITIAL[name]])), system: address });
}

/** Opens files that were dropped or picked; what cannot be opened becomes the session's problem. */
export async function openFiles(store: Store, reading: LocalFiles | Promise<LocalFiles>): Promise<void> {
  const { session, watch, page } = store;
  try {
    const given = await recognise(await reading);
    if (session.busy.value) throw new EngineError("busy", "files are opened only while nothing runs");
    if (given.kind === "folder") {
      const address = session.addFolder(given.folder);
      // The same folder again may hold other files by now.
      if (page.state.value.system === address) {
        store.clear();
        await session.open(address);
      } else openSystem(store, address);
    } else if (given.kind === "links") {
      await session.useLinks(given.links);
    } else {
      watch.open(readTrace(given.text));
      page.set({ view: "inside" });
    }
  } catch (error) {
    session.fail(error);
  }
}
