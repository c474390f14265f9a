/** The Watch view: the graph, the score and the answer. */
import type { JSX } from "preact";
import { formatBytes, formatCount, formatDuration } from "../lib/format";
import { lensesOf, verdict } from "../model/recording";
import { Figure, Verdict } from "../parts/controls";
import { EarlyStopNote } from "../parts/early-stop";
import { Graph } from "../parts/graph";
import { Reading, Score } from "../parts/score";
import { Transport } from "../parts/transport";
import { useStore } from "../state/store";
import { splitAnswer } from "../task/tools";

export function WatchView(): JSX.Element | null {
  const { watch, asked } = useStore();
  const recording = watch.recording.value;
  const base = recording ?? asked.value;
  if (!base) return <div class="stage-blank" />;
  const { system, options } = base;
  const progress = watch.progress.value;
  const lenses = recording ? lensesOf(recording.events) : [];
  const edges = options.edges ?? [];
  const off = system.edges.map(({ id }) => id).filter((id) => !edges.includes(id));
  return (
    <div class="watch">
      <Graph
        system={system}
        progress={progress}
        lenses={lenses}
        latentSteps={options.latentSteps ?? 1}
        off={off}
      />
      <AnswerPanel />
      <Score
        system={system}
        options={options}
        progress={progress}
        lenses={lenses}
        selection={watch.selection.value}
        onSelect={(selection) => watch.select(selection)}
      />
      <Transport />
      <Reading system={system} progress={progress} lenses={lenses} selection={watch.selection.value} />
    </div>
  );
}

/** A longer answer gets its room from the start, so that nothing moves while it is written. */
const LONG_ANSWER_TOKENS = 24;

/** The answer while it is written, whether it is right, and what it cost. */
function AnswerPanel(): JSX.Element {
  const { watch, asked, session } = useStore();
  const recording = watch.recording.value;
  const asleep = session.slept.value;
  const options = (recording ?? asked.value)?.options;
  const long = (options?.decoding?.maxNewTokens ?? 0) > LONG_ANSWER_TOKENS;
  const progress = watch.progress.value;
  const whole = recording !== undefined && watch.frame.value === recording.events.length;
  const result = whole ? recording.result : undefined;
  const live = watch.job.running.value;
  return (
    <section class={long ? "answer long" : "answer"} aria-label="Answer">
      <div class="answer-text-host" aria-live="polite" aria-atomic="true" aria-busy={live}>
        <p class={progress.answer === "" ? "answer-body empty" : "answer-body"}>
          {progress.answer === "" ? live ? "…" : "–" : <AnswerText answer={progress.answer} />}
        </p>
        <div class="answer-verdict">
          {result && recording && <Verdict right={verdict(recording)} expected={recording.expected} />}
          {result && recording?.expected !== undefined && verdict(recording) === undefined && (
            <span class="verdict">not judged; the right answer is {recording.expected}</span>
          )}
          {recording && !recording.result && !live && <span class="verdict">stopped before the answer</span>}
          {asleep && <span class="verdict slept">the tab was asleep, so the time means nothing</span>}
        </div>
      </div>
      <dl class="figures">
        <Figure label="decoded tokens">{formatCount(progress.decodedTokens)}</Figure>
        <Figure label="latent steps">{formatCount(progress.latentSteps)}</Figure>
        <Figure
          label="forward positions"
          title="Positions that the models read: prompts, handed-over thoughts, latent steps, answer prefix, tool results and tokens. The last token of a turn is not fed back and does not count."
        >
          {progress.positions === undefined ? "–" : formatCount(progress.positions)}
        </Figure>
        <Figure
          label="kept positions"
          title="Those of them that were computed in an earlier round: the agent still has the beginning of its prompt."
        >
          {progress.positions === undefined ? "–" : formatCount(progress.kept)}
        </Figure>
        <Figure label="GPU memory" title="Bytes of all GPU buffers, counted when they are created and freed">
          {progress.liveBytes > 0 ? formatBytes(progress.liveBytes) : "–"}
        </Figure>
        <Figure label="time" title={asleep ? "The tab was asleep during part of the run" : undefined}>
          {result ? formatDuration(result.ms) : progress.ms > 0 ? formatDuration(progress.ms) : "–"}
        </Figure>
      </dl>
      {result && recording && <EarlyStopNote options={recording.options} result={result} />}
    </section>
  );
}

/** The answer with its tool calls set off. */
function AnswerText({ answer }: { answer: string }): JSX.Element {
  return (
    <>
      {splitAnswer(answer).map((piece, index) =>
        piece.kind === "text" ? (
          piece.text
        ) : (
          <span key={index} class="tool-call">
            <small>{piece.tool}</small> {piece.input} = <b>{piece.result ?? "…"}</b>
          </span>
        ),
      )}
    </>
  );
}
