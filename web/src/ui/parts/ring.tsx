/** A question of a ring task, drawn as a ring, with the agents' thoughts as a walk along it. */
import type { JSX, TargetedKeyboardEvent } from "preact";
import type { SystemView } from "../model/system-view";
import { type Footstep, legsOf } from "../model/trail";
import type { RingQuestion } from "../task/hop";
import { agentClass, indexOf, markPath } from "./mark";
import { CENTRE, legPath, placeAt, SIZE, wayPath } from "./ring-shapes";

interface RingProps {
  readonly question: RingQuestion;
  readonly system: SystemView;
  readonly steps: readonly Footstep[];
  readonly answer: string;
  /** The right answer; undefined while it must not be shown. */
  readonly goal: string | undefined;
  /** undefined: the start cannot be moved. */
  readonly onStart?: ((symbol: string) => void) | undefined;
}

export function Ring(props: RingProps): JSX.Element {
  const { question, steps, answer } = props;
  const { ring, hops, ways, starts } = question;
  const last = steps.findLast(({ places }) => places.length > 0);
  const names = starts.map((place) => ring[place]).join(" or ");
  // Large letters may reach far below their line, as g and j do.
  const large = answer !== "" && answer.length <= 2;
  return (
    // biome-ignore lint/a11y/useSemanticElements: SVG has no other grouping
    <svg
      class="ring"
      viewBox={`0 0 ${SIZE} ${SIZE}`}
      role="group"
      aria-label={`A ring of ${ring.length} places; start at ${names} and go ${hops} ${hops === 1 ? "hop" : "hops"}`}
    >
      {ways.map((way, place) => (
        <path key={ring[place]} class={`ring-way ${way}`} d={wayPath(way, place, ring.length)} />
      ))}
      <Walk {...props} />
      {ring.map((symbol, place) => (
        <Place key={symbol} symbol={symbol} place={place} {...props} />
      ))}
      <g class="ring-centre">
        <text
          class={answer === "" ? "ring-token" : `ring-answer${large ? "" : " long"}`}
          x={CENTRE}
          y={large ? CENTRE - 5 : CENTRE + 3}
        >
          {answer === "" ? (last?.token.trim() ?? names) : answer.slice(0, 7)}
        </text>
        <text class="ring-note" x={CENTRE} y={CENTRE + (large ? 48 : 36)}>
          {note(props, last)}
        </text>
      </g>
    </svg>
  );
}

function note({ question, answer, steps }: RingProps, last: Footstep | undefined): string {
  if (answer !== "") return "the answer";
  if (last) return last.token.includes("@") ? `${last.agent}’s latest thought` : `the ${last.agent}’s words`;
  if (steps.length > 0) return "thinking";
  return `then ${question.hops} ${question.hops === 1 ? "hop" : "hops"}`;
}

function Place({
  symbol,
  place,
  goal,
  question,
  onStart,
}: RingProps & { symbol: string; place: number }): JSX.Element {
  const { ring, starts, candidates } = question;
  const dot = placeAt(place, ring.length, "ring");
  const letter = placeAt(place, ring.length, "letters");
  const isStart = starts.includes(place);
  const classes = [
    "ring-symbol",
    isStart ? "start" : "",
    symbol === goal ? "goal" : "",
    onStart ? "movable" : "",
  ];
  const body = (
    <>
      <circle class="ring-target" cx={letter.x} cy={letter.y} r={14} />
      <circle class="ring-dot" cx={dot.x} cy={dot.y} r={isStart ? 5 : 3} />
      {(symbol === goal || candidates.includes(symbol)) && (
        <circle
          class={symbol === goal ? "ring-goal" : "ring-goal maybe"}
          cx={letter.x}
          cy={letter.y}
          r={13}
        />
      )}
      <text class="ring-letter" x={letter.x} y={letter.y}>
        {symbol}
      </text>
    </>
  );
  if (!onStart) return <g class={classes.join(" ")}>{body}</g>;
  return (
    // biome-ignore lint/a11y/useSemanticElements: SVG has no button
    <g
      class={classes.join(" ")}
      role="button"
      tabindex={place === 0 ? 0 : -1}
      aria-label={label(symbol, place, goal)}
      onClick={() => onStart(symbol)}
      onKeyDown={(event) => {
        if (event.key === "Enter" || event.key === " ") {
          // Space would also scroll the page.
          event.preventDefault();
          onStart(symbol);
        }
        const step = ARROWS[event.key];
        if (step !== undefined) focusNeighbour(event, step);
      }}
    >
      {body}
    </g>
  );
}

const ARROWS: Partial<Record<string, number>> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function label(symbol: string, place: number, goal: string | undefined): string {
  const parts = [`${symbol}, ${place === 0 ? "the start" : `${place} after the start`}`];
  if (symbol === goal) parts.push("the right answer");
  if (place > 0) parts.push("start here instead");
  return parts.join("; ");
}

function focusNeighbour(event: TargetedKeyboardEvent<SVGGElement>, step: number): void {
  const all = [...(event.currentTarget.parentElement?.querySelectorAll<SVGElement>(".ring-symbol") ?? [])];
  const index = all.indexOf(event.currentTarget);
  event.preventDefault();
  all.at((index + step) % all.length)?.focus();
}

/** An arc for each place that a thought names: along the ring for a walk, straight across for a jump. */
function Walk({ steps, question, system }: RingProps): JSX.Element {
  const count = question.ring.length;
  const legs = legsOf(question, steps);
  const last = steps.findLast(({ places }) => places.length > 0);
  return (
    <g>
      {legs.map(({ step, from, to, ahead, share }, index) => {
        const latest = step === last;
        const { x, y } = placeAt(to, count, "walk");
        return (
          <g key={index} class={`walk ${agentClass(system, step.agent)}`} style={{ "--share": share }}>
            {ahead > 0 && <path class="walk-leg" d={legPath(from, ahead, to, count)} />}
            {(latest || ahead > 0) && (
              <path
                class={latest ? "walk-foot last" : "walk-foot"}
                d={markPath(indexOf(system, step.agent), latest ? 7 : 4)}
                transform={`translate(${x.toFixed(1)},${y.toFixed(1)})`}
              />
            )}
          </g>
        );
      })}
    </g>
  );
}
