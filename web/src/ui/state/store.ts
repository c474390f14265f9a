/** Everything that the page's parts share. */
import { computed, effect, type ReadonlySignal, type Signal, signal, untracked } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { TaskQuestion } from "../../engine/api";
import {
  chooseFields,
  type FieldPlan,
  type Fields,
  fieldsOfRecord,
  NO_FIELDS,
  planFields,
  textOf,
} from "../model/fields";
import type { Asked } from "../model/recording";
import { openingQuestion } from "../model/sample";
import { arranged, runOptions } from "../model/settings";
import { asksForDestination, destination } from "../model/trail";
import type { PageState } from "../model/url";
import { parseRing } from "../task/hop";
import { Ablate } from "./ablate";
import type { Backend } from "./backend";
import { Chat } from "./chat";
import { Compare } from "./compare";
import { Devices, takeInvitation } from "./devices";
import { Measure } from "./measure";
import { createPage, type Page } from "./page";
import type { ReadOnly } from "./read-only";
import { type Remembered, rememberIn } from "./remembered";
import { Session } from "./session";
import { Shared } from "./shared";
import { Watch } from "./watch";

/** An answer to a free question may be at least this long, however short those of the system's task are. */
const CHAT_TOKENS = 48;

/** The current question. */
export interface CurrentQuestion {
  readonly text: string;
  readonly expected: string | undefined;
  readonly choices: readonly string[] | undefined;
  /** The index in the held-out set; undefined for the visitor's own question. */
  readonly index: number | undefined;
  /** The other columns that prompts show: none if they show only the question. */
  readonly fields: Fields;
}

export interface Store {
  readonly page: Page;
  readonly session: ReadOnly<Session>;
  readonly remembered: Remembered;
  readonly watch: ReadOnly<Watch>;
  readonly chat: ReadOnly<Chat>;
  readonly compare: ReadOnly<Compare>;
  readonly measure: ReadOnly<Measure>;
  readonly ablate: ReadOnly<Ablate>;
  readonly devices: ReadOnly<Devices>;
  readonly shared: ReadOnly<Shared>;
  /** Whether the visitor allows the last agent to search. The page asks on every visit; links do not carry it. */
  readonly search: Signal<boolean>;
  readonly question: ReadonlySignal<CurrentQuestion>;
  /** What a run would ask now; undefined before a system is open. */
  readonly asked: ReadonlySignal<Asked | undefined>;
  /** What the Chat view would ask now; undefined before a system is open. */
  readonly chatAsked: ReadonlySignal<Asked | undefined>;
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
    chat: new Chat(session),
    compare: new Compare(session),
    measure: new Measure(session),
    ablate: new Ablate(session),
    devices: new Devices(session),
  };
  const question = computed(() => {
    const state = page.state.value;
    const system = session.system.value;
    return currentQuestion(session.questions.value, state, system ? planFields(system, state) : NO_FIELDS);
  });
  const asked = computed((): Asked | undefined => {
    const system = session.system.value;
    if (!system) return undefined;
    const { text, expected, choices, fields } = question.value;
    const scoring = system.task?.scoring ?? "exact";
    const options = runOptions(system, page.state.value, text, search.value, fields);
    const origin = { manifest: system.sha256, links: session.links.value?.name };
    return { system: arranged(system, page.state.value), origin, expected, choices, scoring, options };
  });
  const chatAsked = computed((): Asked | undefined => {
    const system = session.system.value;
    if (!system || !asked.value) return undefined;
    const state: PageState = { ...page.state.value, mode: "latent" };
    const fields = chooseFields(planFields(system, state), {}, parts.chat.fields.value);
    const options = runOptions(system, state, parts.chat.draft.value.trim(), search.value, fields);
    const longest = Math.max(CHAT_TOKENS, options.decoding?.maxNewTokens ?? 0);
    const decoding = state.maxNewTokens === null ? { maxNewTokens: longest } : {};
    return {
      ...asked.value,
      expected: undefined,
      choices: undefined,
      options: { ...options, decoding: { ...options.decoding, ...decoding } },
    };
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
  const invited = (): void => {
    const code = takeInvitation();
    if (code !== undefined) parts.devices.consider(code);
  };
  invited();
  window.addEventListener("hashchange", invited);
  const shared = new Shared(session);
  return { page, session, remembered, ...parts, shared, search, question, asked, chatAsked, clear };
}

function currentQuestion(
  held: readonly TaskQuestion[],
  { question: own, number, fields: edited }: PageState,
  plan: FieldPlan,
): CurrentQuestion {
  const place = Math.min(number === null ? openingQuestion(held) : number - 1, Math.max(0, held.length - 1));
  const chosen = held[place];
  const fields = chooseFields(plan, fieldsOfRecord(chosen), edited);
  const untouched = Object.keys(edited).every((name) => !Object.hasOwn(fields, name));
  if (own !== null) {
    // Only with the same facts is the right answer the same.
    const same = (each: TaskQuestion): boolean =>
      each.question === own.trim() && sameTexts(chooseFields(plan, fieldsOfRecord(each), {}), fields);
    const known = held.find(same);
    const ring = parseRing(own);
    const expected = known?.answer ?? (ring && asksForDestination(held) ? destination(ring) : undefined);
    return { text: own, expected, choices: known?.choices, index: undefined, fields };
  }
  return {
    text: chosen?.question ?? "",
    expected: untouched ? chosen?.answer : undefined,
    choices: chosen?.choices,
    index: chosen && untouched ? place : undefined,
    fields,
  };
}

function sameTexts(one: Fields, other: Fields): boolean {
  return Object.keys(other).every((name) => textOf(one, name) === textOf(other, name));
}

export const StoreContext = createContext<Store | undefined>(undefined);

export function useStore(): Store {
  const store = useContext(StoreContext);
  if (!store) throw new Error("useStore needs the StoreContext of the page around it");
  return store;
}
