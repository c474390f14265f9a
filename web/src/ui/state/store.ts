/** Everything that the page's parts share. */
import { computed, effect, type ReadonlySignal, type Signal, signal, untracked } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { TaskQuestion } from "../../engine/api";
import type { Asked } from "../model/recording";
import { openingQuestion } from "../model/sample";
import { arranged, runOptions } from "../model/settings";
import { asksForDestination, destination } from "../model/trail";
import { parseRing } from "../task/hop";
import { Ablate } from "./ablate";
import type { Backend } from "./backend";
import { Compare } from "./compare";
import { Measure } from "./measure";
import { createPage, type Page } from "./page";
import type { ReadOnly } from "./read-only";
import { type Remembered, rememberIn } from "./remembered";
import { Session } from "./session";
import { Watch } from "./watch";

/** The current question. */
export interface CurrentQuestion {
  readonly text: string;
  readonly expected: string | undefined;
  readonly choices: readonly string[] | undefined;
  /** The index in the held-out set; undefined for the visitor's own question. */
  readonly index: number | undefined;
}

export interface Store {
  readonly page: Page;
  readonly session: ReadOnly<Session>;
  readonly remembered: Remembered;
  readonly watch: ReadOnly<Watch>;
  readonly compare: ReadOnly<Compare>;
  readonly measure: ReadOnly<Measure>;
  readonly ablate: ReadOnly<Ablate>;
  /** Whether the visitor allows the last agent to search. The page asks on every visit; links do not carry it. */
  readonly search: Signal<boolean>;
  readonly question: ReadonlySignal<CurrentQuestion>;
  /** What a run would ask now; undefined before a system is open. */
  readonly asked: ReadonlySignal<Asked | undefined>;
  /** Forgets all runs, because another system or other links are open now. */
  clear(): void;
}

export function createStore(backend: Backend): Store {
  const page = createPage();
  const remembered = rememberIn(() => window.localStorage);
  const session = new Session(backend, remembered);
  const search = signal(false);
  const parts = {
    watch: new Watch(session),
    compare: new Compare(session),
    measure: new Measure(session),
    ablate: new Ablate(session),
  };
  const question = computed(() => {
    const { question: own, number } = page.state.value;
    return currentQuestion(session.questions.value, own, number);
  });
  const asked = computed((): Asked | undefined => {
    const system = session.system.value;
    if (!system) return undefined;
    const { text, expected, choices } = question.value;
    const scoring = system.task?.scoring ?? "exact";
    const options = runOptions(system, page.state.value, text, search.value);
    const origin = { manifest: system.sha256, links: session.links.value?.name };
    return { system: arranged(system, page.state.value), origin, expected, choices, scoring, options };
  });
  const clear = (): void => {
    for (const part of Object.values(parts)) part.clear();
  };
  let opened: string | undefined;
  effect(() => {
    const { system } = page.state.value;
    if (system === opened) return;
    opened = system;
    untracked(() => {
      clear();
      void session.open(system);
    });
  });
  let linked = session.links.value;
  effect(() => {
    const links = session.links.value;
    if (links === linked) return;
    linked = links;
    // Results of other links must not be mistaken for results of these.
    untracked(clear);
  });
  return { page, session, remembered, ...parts, search, question, asked, clear };
}

function currentQuestion(
  held: readonly TaskQuestion[],
  own: string | null,
  number: number | null,
): CurrentQuestion {
  if (own !== null) {
    const known = held.find(({ question }) => question === own.trim());
    const ring = parseRing(own);
    const expected = known?.answer ?? (ring && asksForDestination(held) ? destination(ring) : undefined);
    return { text: own, expected, choices: known?.choices, index: undefined };
  }
  const index = Math.min(number === null ? openingQuestion(held) : number - 1, Math.max(0, held.length - 1));
  const chosen = held[index];
  return {
    text: chosen?.question ?? "",
    expected: chosen?.answer,
    choices: chosen?.choices,
    index: chosen ? index : undefined,
  };
}

export const StoreContext = createContext<Store | undefined>(undefined);

export function useStore(): Store {
  const store = useContext(StoreContext);
  if (!store) throw new Error("useStore needs the StoreContext of the page around it");
  return store;
}
