/** Views that are about words open a system of language models, if the list has one and the visitor chose none. */
import { useSignalEffect } from "@preact/signals";
import { firstLarge } from "../model/words";
import { openSystem } from "../state/open";
import { useStore } from "../state/store";

/** Opens it while nothing is loaded and no system is named in the address. */
export function useLarge(): void {
  const { session, page, watch } = useStore();
  useSignalEffect(() => {
    const large = firstLarge(session.catalog.value);
    const open = session.system.value;
    const free = session.phase.value === "unloaded" && watch.recording.value === undefined;
    if (large && open && free && page.state.value.system === "" && open.name !== large.name)
      openSystem({ page }, large.url);
  });
}
