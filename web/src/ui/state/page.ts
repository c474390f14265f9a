/**
 * The page's shareable state: a signal that follows the URL and is written into it.
 *
 * Texts that are too long for an address stay with the tab's history entry, so that a reload and the Back button find
 * them; a copied link does not carry them.
 */
import { type ReadonlySignal, signal } from "@preact/signals";
import { INITIAL, KEPT_ON_RESET, type PageState, parseQuery, printAddress, printQuery } from "../model/url";

/** Browsers limit how often a page may change its address; typing a prompt would exceed the limit. */
const WRITE_DELAY_MS = 250;

export interface Page {
  readonly state: ReadonlySignal<PageState>;
  set(patch: Partial<PageState>): void;
  /** Resets everything but the system, the question and the view. */
  reset(): void;
}

/** What a history entry holds if its address does not carry everything. */
interface Entry {
  readonly query: string;
}

function readState(): PageState {
  const entry: Partial<Entry> | null = window.history.state;
  return parseQuery(typeof entry?.query === "string" ? entry.query : window.location.search);
}

export function createPage(): Page {
  const state = signal(readState());
  let timer = 0;
  const write = (method: "pushState" | "replaceState"): void => {
    window.clearTimeout(timer);
    const { query, whole } = printAddress(state.value);
    const address = query === "" ? window.location.pathname : `?${query}`;
    const entry: Entry | null = whole ? null : { query: printQuery(state.value) };
    try {
      window.history[method](entry, "", address);
    } catch {
      // Browsers limit what an entry may hold. Without it, a reload forgets the long texts.
      window.history[method](null, "", address);
    }
  };
  window.addEventListener("popstate", () => {
    const { query, whole } = printAddress(state.value);
    // A link within the page, such as the one to its content, makes an entry that has no texts yet.
    if (!whole && window.history.state === null && window.location.search === (query && `?${query}`))
      return write("replaceState");
    state.value = readState();
  });
  const set = (patch: Partial<PageState>): void => {
    const before = state.value;
    state.value = { ...before, ...patch };
    if (state.value.view !== before.view || state.value.system !== before.system) {
      write("pushState");
    } else {
      window.clearTimeout(timer);
      timer = window.setTimeout(() => write("replaceState"), WRITE_DELAY_MS);
    }
  };
  return {
    state,
    set,
    reset: () => {
      const kept = Object.fromEntries(KEPT_ON_RESET.map((name) => [name, state.value[name]]));
      set({ ...INITIAL, ...kept });
    },
  };
}
