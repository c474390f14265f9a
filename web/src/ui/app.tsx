/** The page. */
import type { ComponentType, JSX } from "preact";
import { useRef } from "preact/hooks";
import { formatRound } from "./lib/format";
import type { Progress } from "./model/progress";
import type { View } from "./model/url";
import { DropTarget } from "./parts/bring";
import { LoadPanel } from "./parts/loading";
import { ProblemBanner } from "./parts/problem";
import { QuestionCard } from "./parts/question";
import { AskButton, MainButton, Settings } from "./parts/settings";
import { SystemDialog } from "./parts/system-dialog";
import { SystemLine } from "./parts/system-line";
import { Top } from "./parts/top";
import type { Phase } from "./state/session";
import { useStore } from "./state/store";
import { ChangeView } from "./views/change";
import { ChatComposer, ChatView } from "./views/chat";
import { CompareView } from "./views/compare";
import { DevicesView } from "./views/devices";
import { ExplainView } from "./views/explain";
import { InsideView } from "./views/inside";
import { LinksView } from "./views/links";
import { MeasureView } from "./views/measure";
import { WatchView } from "./views/watch";

const VIEWS: Record<View, ComponentType> = {
  watch: WatchView,
  chat: ChatView,
  inside: InsideView,
  compare: CompareView,
  measure: MeasureView,
  change: ChangeView,
  links: LinksView,
  devices: DevicesView,
  explain: ExplainView,
};

export function App(): JSX.Element {
  const store = useStore();
  const { page, watch, chat, asked, chatAsked, session } = store;
  const dialog = useRef<HTMLDialogElement>(null);
  const sheet = useRef<HTMLDivElement>(null);
  const { view } = page.state.value;
  const Current = VIEWS[view];
  const chooseSystem = (): void => dialog.current?.showModal();
  const showSheet = (): void => {
    if (window.matchMedia("(max-width: 900px)").matches) sheet.current?.scrollIntoView({ block: "start" });
  };
  const ask = (): void => {
    if (!chatAsked.value) return;
    showSheet();
    void chat.ask(chatAsked.value);
  };
  const run = (): void => {
    if (!asked.value) return;
    if (!["watch", "inside", "devices", "explain"].includes(view)) page.set({ view: "watch" });
    showSheet();
    void watch.start(asked.value);
  };
  return (
    <>
      <a class="skip" href="#sheet">
        Skip to the run
      </a>
      <Top onChooseSystem={chooseSystem} />
      <main data-view={view}>
        <SystemLine />
        <ProblemBanner onChooseSystem={chooseSystem} />
        <div class="rail">
          {view === "chat" ? (
            <ChatComposer onAsk={ask} />
          ) : (
            <>
              <QuestionCard />
              <Settings />
            </>
          )}
          <div class="main-button">
            {view === "chat" ? <AskButton onAsk={ask} /> : <MainButton onRun={run} />}
          </div>
        </div>
        <div class="sheet" id="sheet" ref={sheet} tabIndex={-1}>
          {view !== "explain" && <LoadPanel />}
          <Current key={session.system.value?.name ?? ""} />
        </div>
      </main>
      <Status />
      <SystemDialog dialog={dialog} />
      <DropTarget />
    </>
  );
}

/** Announced when a job of many runs begins and when it ends. */
const LONG = {
  chat: ["Asking.", "Both have answered."],
  compare: ["Comparing the modes.", "The comparison has ended."],
  measure: ["Measuring.", "The measurement has ended."],
  ablate: ["Cutting the edges, one at a time.", "The cuts have ended."],
  devices: ["Comparing hand-offs with text on these devices.", "The comparison has ended."],
} as const;

/** Announces the landmarks of a run, not every step, to visitors who use a screen reader. */
function Status(): JSX.Element {
  const store = useStore();
  const { session, watch } = store;
  const running = (Object.keys(LONG) as (keyof typeof LONG)[]).find((name) => store[name].job.running.value);
  const last = useRef<keyof typeof LONG | undefined>(undefined);
  const phase = session.phase.value;
  const live = watch.job.running.value;
  if (running) last.current = running;
  else if (live || phase !== "ready") last.current = undefined;
  const words = running
    ? LONG[running][0]
    : live
      ? turnWords(watch.progress.value)
      : last.current
        ? LONG[last.current][1]
        : PHASE_WORDS[phase];
  return (
    <p class="visually-hidden" role="status">
      {words}
    </p>
  );
}

const PHASE_WORDS: Record<Phase, string> = {
  opening: "Opening.",
  unloaded: "",
  loading: "Loading the agents.",
  ready: "The agents are ready.",
  failed: "",
};

function turnWords({ active, turns }: Progress): string {
  const turn = active === undefined ? undefined : turns[active];
  return turn ? `The ${turn.agent} is thinking in ${formatRound(turn.round)}.` : "Running.";
}
