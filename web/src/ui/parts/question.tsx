/** Chooses or writes a question. */
import type { JSX } from "preact";
import { useId, useMemo } from "preact/hooks";
import type { TaskQuestion } from "../../engine/api";
import { planFields } from "../model/fields";
import { lensesOf } from "../model/recording";
import { arranged } from "../model/settings";
import { askAgain, footsteps } from "../model/trail";
import { useStore } from "../state/store";
import { parseRing, type RingQuestion as RingQuestionShape } from "../task/hop";
import { spokenAnswer } from "../task/tools";
import { FieldBoxes } from "./field-boxes";
import { Ring } from "./ring";

/** A menu does not get longer than this. */
const MOST_IN_MENU = 1000;

export function QuestionCard(): JSX.Element {
  const { session, page, question } = useStore();
  const { index, text } = question.value;
  const held = session.questions.value;
  const ring = parseRing(text);
  return (
    <section class="question" aria-label="Question">
      <div class="question-head">
        <h2>{index === undefined && held.length > 0 ? "Your own question" : "Question"}</h2>
        {held.length > 0 && <Chooser held={held} index={index} />}
      </div>
      {ring ? <RingQuestionView /> : <div class="question-blank">{text === "" && <Waiting />}</div>}
      <Words open={!ring && held.length > 0} />
      <Facts />
      {index === undefined && held.length > 0 && (
        <button type="button" class="link" onClick={() => page.set({ question: null, fields: {} })}>
          Back to the system’s questions
        </button>
      )}
    </section>
  );
}

function Waiting(): JSX.Element {
  return (
    <svg class="ring waiting" viewBox="0 0 300 300" aria-hidden="true">
      <circle class="ring-line" cx={150} cy={150} r={118} />
      <text class="ring-note" x={150} y={146}>
        <tspan x={150}>The questions load</tspan>
        <tspan x={150} dy={20}>
          with the agents
        </tspan>
      </text>
    </svg>
  );
}

interface ChooserProps {
  readonly held: readonly TaskQuestion[];
  readonly index: number | undefined;
}

function Chooser({ held, index }: ChooserProps): JSX.Element {
  const { page, session } = useStore();
  const id = useId();
  // There may be hundreds, so they are not drawn again whenever a run begins or ends.
  const options = useMemo(
    () =>
      held
        .slice(0, MOST_IN_MENU)
        .map((each, place) => (
          <option key={place} value={String(place + 1)}>{`${place + 1} · ${summary(each)}`}</option>
        )),
    [held],
  );
  const busy = session.busy.value;
  const choose = (number: number): void =>
    page.set({ number: ((number - 1 + held.length) % held.length) + 1, question: null, fields: {} });
  const at = (index ?? -1) + 1;
  return (
    <div class="chooser">
      <button
        type="button"
        class="icon"
        aria-label="Previous question"
        disabled={busy}
        onClick={() => choose(at - 1)}
      >
        ‹
      </button>
      <label class="visually-hidden" for={id}>
        Choose a question
      </label>
      <select
        id={id}
        value={String(at)}
        disabled={busy}
        onChange={(event) => choose(Number(event.currentTarget.value))}
      >
        {index === undefined && <option value="0">your own</option>}
        {options}
        {at > MOST_IN_MENU && <option value={String(at)}>{at}</option>}
      </select>
      <button
        type="button"
        class="icon"
        aria-label="Next question"
        disabled={busy}
        onClick={() => choose(at + 1)}
      >
        ›
      </button>
      <button
        type="button"
        class="icon"
        aria-label="Random question"
        title="Random question"
        disabled={busy}
        onClick={() => choose(1 + Math.floor(Math.random() * held.length))}
      >
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path d="M2,5 h2.5 c3,0 4,6 7,6 H14 M11.5,8.5 L14,11 l-2.5,2.5 M2,11 h2.5 c1,0 1.7,-.7 2.3,-1.5 M9,6.5 C9.700,5.600 10.400,5 11.500,5 H14 M11.500,2.500 L14,5 l-2.500,2.500" />
        </svg>
      </button>
    </div>
  );
}

/** One line that distinguishes a question from the others. */
function summary({ question }: TaskQuestion): string {
  const ring = parseRing(question);
  if (ring) {
    const from = ring.starts.map((place) => ring.ring[place]).join(" or ");
    return `${ring.hops} ${ring.hops === 1 ? "hop" : "hops"} from ${from}`;
  }
  return question.length > 48 ? `${question.slice(0, 47)}…` : question;
}

function RingQuestionView(): JSX.Element | null {
  const { question, page, watch, session } = useStore();
  const { text } = question.value;
  const ring = parseRing(text);
  const recording = watch.recording.value;
  const system = recording?.system ?? session.system.value;
  if (!ring || !system) return null;
  const same = recording?.options.question === text;
  const progress = watch.progress.value;
  const ended = same && recording.result !== undefined && progress.answer !== "";
  const movable = ring.starts.length === 1 && !session.busy.value;
  return (
    <>
      <Ring
        question={ring}
        system={system}
        steps={same ? footsteps(ring, progress, lensesOf(recording.events)) : []}
        answer={same ? spokenAnswer(progress.answer) : ""}
        goal={ended ? recording.expected : undefined}
        onStart={movable ? (symbol) => page.set({ question: askAgain(text, symbol, ring.hops) }) : undefined}
      />
      <RingWords ring={ring} text={text} />
    </>
  );
}

/** The question in words. If it has one start, the visitor can change the number of hops. */
function RingWords({ ring, text }: { ring: RingQuestionShape; text: string }): JSX.Element {
  const { page, session } = useStore();
  const start = ring.ring[0] ?? "";
  const hops = ring.hops === 1 ? "hop" : "hops";
  if (ring.starts.length > 1) {
    return (
      <p class="ring-question">
        Start at {ring.starts.map((place) => ring.ring[place]).join(" or ")} and go {ring.hops} {hops}{" "}
        clockwise. Is it {ring.candidates.join(" or ")}?
      </p>
    );
  }
  return (
    <p class="ring-question">
      Start at <b>{start}</b> and go{" "}
      <label>
        <span class="visually-hidden">Hops</span>
        <input
          type="number"
          min={0}
          max={99}
          value={ring.hops}
          disabled={session.busy.value}
          onChange={(event) => {
            const next = Math.max(0, Math.min(99, Math.round(Number(event.currentTarget.value))));
            page.set({ question: askAgain(text, start, next) });
          }}
        />
      </label>{" "}
      {hops} clockwise.
    </p>
  );
}

/** The task's own description. */
function TaskWords(): JSX.Element | null {
  const { session } = useStore();
  const description = session.system.value?.task?.description;
  return description ? <p class="task-words">{description}</p> : null;
}

/** What agents read beside the question; the visitor can edit it. */
function Facts(): JSX.Element | null {
  const { page, question, session } = useStore();
  const system = session.system.value;
  // The task's own facts come with its questions.
  if (!system || session.phase.value !== "ready") return null;
  const state = page.state.value;
  return (
    <FieldBoxes
      plan={planFields(system, state)}
      system={arranged(system, state)}
      values={question.value.fields}
      disabled={session.busy.value}
      onChange={(name, text) => page.set({ fields: { ...page.state.value.fields, [name]: text } })}
    />
  );
}

/** The question as the agents read it; the visitor can edit it. */
function Words({ open }: { open: boolean }): JSX.Element {
  const { page, question, session } = useStore();
  const id = useId();
  // Agents that read facts of their own leave less room for the question, which is short then.
  const rows = Object.keys(question.value.fields).length > 0 ? 3 : 7;
  const area = (
    <>
      <label for={id} class={open ? "" : "visually-hidden"}>
        {open ? "Your question" : "The question as the agents read it"}
      </label>
      <textarea
        id={id}
        rows={open ? rows : 4}
        spellcheck={false}
        value={question.value.text}
        disabled={session.busy.value}
        placeholder="Type a question"
        onInput={(event) => page.set({ question: event.currentTarget.value })}
      />
    </>
  );
  if (open) return <div class="words">{area}</div>;
  return (
    <details class="words">
      <summary>The task and what the agents read</summary>
      <TaskWords />
      {area}
    </details>
  );
}
