/** The page's shareable state: a signal that follows the URL and is written into it. */
import { type ReadonlySignal, signal } from "@preact/signals";
import { INITIAL, KEPT_ON_RESET, type PageState, parseQuery, printQuery } from "../model/url";

/** Browsers limit how often a page may change its address; typing a prompt would exceed the limit. */
const WRITE_DELAY_MS = 250;

export interface Page {
  readonly state: ReadonlySignal<PageState>;
  set(patch: Partial<PageState>): void;
  /** Resets everything but the system, the question and the view. */
  reset(): void;
}

export function createPage(): Page {
  const state = signal(parseQuery(window.location.search));
  let timer = 0;
  const write = (method: "pushState" | "replaceState"): void => {
    window.clearTimeout(timer);
    const query = printQuery(state.value);
    window.history[method](null, "", query === "" ? window.location.pathname : `?${query}`);
  };
  window.addEventListener("popstate", () => {
    state.value = parseQuery(window.location.search);
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
