/** Accuracy over many held-out questions, by mode and number of rounds. */
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Mode } from "../../engine/api";
import { MODES } from "../../formats/generated/names";
import { formatCount, formatDuration, formatPercent } from "../lib/format";
import { saveFile } from "../lib/save";
import { modeOf } from "../model/modes";
import { cellsOf, type Score, type Survey, scores, toCsv } from "../model/tally";
import { AccuracyChart, GroupChart } from "../parts/accuracy";
import { Bar, JobButton } from "../parts/controls";
import { Estimate } from "../parts/estimate";
import { TableScroll } from "../parts/table-scroll";
import { useStore } from "../state/store";
import { isComplete } from "../task/score";

const COUNTS = [18, 36, 72, 180, 360];
const MOST_ROUNDS = 6;

export function MeasureView(): JSX.Element {
  const { measure, session } = useStore();
  const held = session.questions.value;
  const trials = measure.trials.value;
  const table = scores(trials);
  return (
    <div class="measure">
      <div class="view-head">
        <h2>Does another round help?</h2>
        <div class="view-tools">
          <button
            type="button"
            class="button"
            disabled={trials.length === 0}
            onClick={() =>
              saveFile(`${session.system.value?.name ?? "system"}-accuracy.csv`, toCsv(trials), "text/csv")
            }
          >
            Save as CSV
          </button>
        </div>
      </div>
      {session.phase.value === "ready" && held.length === 0 ? (
        <p class="view-empty">
          This system has no questions with known answers, so there is nothing to measure.
        </p>
      ) : (
        <SurveyForm />
      )}
      {table.length === 0 && (session.phase.value !== "ready" || held.length > 0) && (
        <p class="view-empty">
          The system was not trained on these questions, and their answers are known. The page asks each
          question in every mode that you tick, and the chart grows with the answers. You can stop at any
          moment. To see the effect of rounds, choose Latent with 1, 2 and 3 rounds. To see what words cost,
          add Text.
        </p>
      )}
      {session.system.value?.task && !isComplete(session.system.value.task.scoring) && (
        <p>
          This page does not compare expressions: it counts an answer as right only if it is the same number
          or text. <code>rmas eval</code> also accepts an equivalent expression, so its accuracy may be
          higher.
        </p>
      )}
      {table.length > 0 && (
        <>
          <AccuracyChart scores={table} />
          <ScoreTable scores={table} />
          <GroupChart trials={trials} />
        </>
      )}
    </div>
  );
}

function SurveyForm(): JSX.Element {
  const { measure, session, asked } = useStore();
  const system = session.system.value;
  const held = session.questions.value;
  const modes = useSignal<readonly Mode[]>(["latent"]);
  const rounds = useSignal<readonly number[] | undefined>(undefined);
  const count = useSignal(36);
  const upTo = Math.max(3, Math.min(MOST_ROUNDS, system?.rounds ?? 3));
  const chosen =
    rounds.value ??
    Array.from({ length: system?.rounds ?? 3 }, (_, index) => index + 1).slice(0, MOST_ROUNDS);
  const running = measure.job.running.value;
  const survey: Survey = {
    modes: modes.value,
    rounds: chosen,
    questions: Math.min(count.value, held.length),
  };
  const runs = cellsOf(survey).length * survey.questions;
  const current = asked.value;
  return (
    <section class="survey" aria-label="What to measure">
      <Checks
        legend="Modes"
        options={MODES.map(({ name, label }) => ({ value: name, label }))}
        chosen={modes.value}
        disabled={running}
        onChange={(next) => {
          modes.value = MODES.map(({ name }) => name).filter((name) => next.includes(name));
        }}
      />
      <Checks
        legend="Rounds"
        options={Array.from({ length: upTo }, (_, index) => ({ value: index + 1, label: String(index + 1) }))}
        chosen={chosen}
        disabled={running}
        onChange={(next) => {
          rounds.value = [...next].sort((a, b) => a - b);
        }}
      />
      <label class="field">
        Questions
        <select
          value={String(count.value)}
          disabled={running}
          onChange={(event) => {
            count.value = Number(event.currentTarget.value);
          }}
        >
          {COUNTS.map((each) => (
            <option key={each} value={String(each)}>
              {each === 360 ? `up to ${each}` : each}
            </option>
          ))}
        </select>
      </label>
      <div class="survey-run">
        <JobButton
          job={measure.job}
          strong
          disabled={session.phase.value !== "ready" || session.busy.value || runs === 0 || !current}
          onStart={() => current && void measure.start(current, held, survey)}
        >
          Measure
        </JobButton>
        <SurveyProgress runs={runs} />
        {current && !running && (
          <Estimate
            runs={cellsOf(survey).map((cell) => ({ ...current.options, ...cell }))}
            times={survey.questions}
          />
        )}
      </div>
    </section>
  );
}

function SurveyProgress({ runs }: { runs: number }): JSX.Element {
  const { measure } = useStore();
  const done = measure.trials.value.length;
  const planned = measure.planned.value;
  if (planned === 0)
    return (
      <p class="fine">{runs > 0 ? `${formatCount(runs)} runs` : "Choose a mode and a number of rounds."}</p>
    );
  const left = done === 0 ? undefined : (measure.elapsedMs.value / done) * (planned - done);
  return (
    <div class="survey-progress">
      <Bar share={done / planned} label="Measured" />
      <p class="fine" aria-live="off">
        {formatCount(done)} of {formatCount(planned)} runs
        {measure.job.running.value && left !== undefined ? `, about ${formatDuration(left)} left` : ""}
      </p>
    </div>
  );
}

interface ChecksProps<T extends string | number> {
  readonly legend: string;
  readonly options: readonly { readonly value: T; readonly label: string }[];
  readonly chosen: readonly T[];
  readonly disabled: boolean;
  readonly onChange: (chosen: T[]) => void;
}

function Checks<T extends string | number>({
  legend,
  options,
  chosen,
  disabled,
  onChange,
}: ChecksProps<T>): JSX.Element {
  return (
    <fieldset class="checks" disabled={disabled}>
      <legend>{legend}</legend>
      <div>
        {options.map(({ value, label }) => (
          <label key={value}>
            <input
              type="checkbox"
              checked={chosen.includes(value)}
              onChange={(event) =>
                onChange(
                  event.currentTarget.checked ? [...chosen, value] : chosen.filter((each) => each !== value),
                )
              }
            />
            {label}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

function ScoreTable({ scores: all }: { scores: readonly Score[] }): JSX.Element {
  return (
    <TableScroll label="Accuracy">
      <table class="facts">
        <thead>
          <tr>
            <th scope="col">Mode</th>
            <th scope="col">Rounds</th>
            <th scope="col">Right</th>
            <th scope="col">Accuracy</th>
            <th scope="col">95 % interval</th>
            <th scope="col">Decoded tokens</th>
            <th scope="col">Time per question</th>
          </tr>
        </thead>
        <tbody>
          {all.map((score) => (
            <tr key={`${score.mode}/${score.rounds}`}>
              <th scope="row">{modeOf(score.mode).label}</th>
              <td>{modeOf(score.mode).rounds ? score.rounds : "–"}</td>
              <td>
                {score.right} of {score.of}
              </td>
              <td>
                <b>{formatPercent(score.accuracy)}</b>
              </td>
              <td>
                {formatPercent(score.low)} to {formatPercent(score.high)}
              </td>
              <td>{score.decodedTokens.toFixed(1)}</td>
              <td>{formatDuration(score.ms)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableScroll>
  );
}
