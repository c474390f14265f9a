/** The score of a run: each latent thought is a note, each agent has a stave, bar lines separate rounds. */
import type { JSX, TargetedKeyboardEvent } from "preact";
import { useMemo } from "preact/hooks";
import { planRun, type RunOptions } from "../../engine/api";
import { formatPercent, formatRound, showToken } from "../lib/format";
import type { HandoffProgress, Progress, TurnProgress } from "../model/progress";
import type { Lens } from "../model/recording";
import { layOutScore, type PlacedTurn, readerOf, type ScoreLayout, stavesOf } from "../model/score-layout";
import type { SystemView } from "../model/system-view";
import { takenTurns } from "../model/taken";
import type { Selection } from "../state/watch";
import { spokenAnswer } from "../task/tools";
import { agentClass, indexOf, Mark, markPath } from "./mark";
import { useWidth } from "./use-width";

interface ScoreProps {
  readonly system: SystemView;
  /** Complete. */
  readonly options: RunOptions;
  readonly progress: Progress;
  readonly lenses: readonly (Lens | undefined)[];
  readonly selection: Selection | undefined;
  readonly compact?: boolean;
  /** undefined: notes cannot be selected. */
  readonly onSelect: ((selection: Selection) => void) | undefined;
}

/** Pixels that a slot needs to have room for a word. */
const WORD_ROOM = 26;

export function Score(props: ScoreProps): JSX.Element {
  const { system, options, progress, compact } = props;
  const [host, width] = useWidth<HTMLDivElement>(820);
  const planned = useMemo(() => planRun(system, options).turns, [system, options]);
  const taken = takenTurns(planned, progress);
  // A run that stops early is drawn anew, and only then.
  const turns = useMemo(() => taken, [planned, taken.length]);
  const layout = useMemo(
    () => layOutScore(turns, stavesOf(system, turns), width, compact),
    [system, turns, width, compact],
  );
  return (
    <div class="score" ref={host}>
      <div class="score-scroll">
        {/* biome-ignore lint/a11y/useSemanticElements: SVG has no other grouping */}
        <svg
          width={layout.width}
          height={layout.height}
          role="group"
          aria-label="Score of the run"
          onKeyDown={moveFocus}
        >
          <Bars layout={layout} bottom={layout.height - 6} />
          {layout.staves.map(({ agent, y }) => (
            <g key={agent} class={`stave ${agentClass(system, agent)}`}>
              <line class="stave-line" x1={layout.left} x2={layout.width - 2} y1={y} y2={y} />
              <path
                class="stave-mark"
                d={markPath(indexOf(system, agent), 5)}
                transform={`translate(8,${y})`}
              />
              {layout.left > 60 && (
                <text class="stave-name" x={20} y={y + 4}>
                  {agent}
                </text>
              )}
            </g>
          ))}
          {progress.handoffs.map((handoff) => (
            <Slur key={`${handoff.turn}/${handoff.edge}`} handoff={handoff} layout={layout} system={system} />
          ))}
          {layout.turns.map((placed, index) => (
            <Turn
              key={index}
              {...props}
              placed={placed}
              index={index}
              layout={layout}
              turn={progress.turns[index]}
            />
          ))}
        </svg>
      </div>
    </div>
  );
}

const ARROWS: Partial<Record<string, number>> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 };

/** Arrow keys move the focus from note to note, as in a toolbar. */
function moveFocus(event: TargetedKeyboardEvent<SVGSVGElement>): void {
  const step = ARROWS[event.key];
  if (step === undefined || !(event.target instanceof Element)) return;
  const notes = [...event.currentTarget.querySelectorAll<SVGElement>("[role=button]")];
  const next = notes[notes.indexOf(event.target as SVGElement) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

function Bars({ layout, bottom }: { layout: ScoreLayout; bottom: number }): JSX.Element {
  const alone = layout.turns.length === 1;
  return (
    <g class="bars">
      {layout.bars.map(({ round, x, endX }) => (
        <g key={round}>
          {endX - x > 46 && (
            <text x={x + (round === 0 ? 0 : 12)} y={16}>
              {alone ? "alone" : formatRound(round)}
            </text>
          )}
          {round > 0 && <line x1={x} x2={x} y1={6} y2={bottom} />}
        </g>
      ))}
      <path d={`M${layout.width - 6},26 V${bottom} M${layout.width - 1.5},26 V${bottom}`} class="bar-end" />
    </g>
  );
}

/** A hand-off, drawn from the end of the sender's turn to the start of the receiver's. */
function Slur({
  handoff,
  layout,
  system,
}: {
  handoff: HandoffProgress;
  layout: ScoreLayout;
  system: SystemView;
}): JSX.Element | null {
  const edge = system.edges.find(({ id }) => id === handoff.edge);
  const from = layout.turns[handoff.turn];
  const to = edge && readerOf(layout.turns, edge, handoff.round);
  if (!edge || !from || !to || (handoff.rows === 0 && handoff.text === "")) return null;
  const [x1, x2] = [from.outX - layout.unit * 0.12, to.inX + layout.unit * 0.12];
  const pull = Math.max(18, (x2 - x1) / 2);
  return (
    <path
      class={`slur ${agentClass(system, edge.from)}${edge.feedback ? " feedback" : ""}`}
      d={`M${x1},${from.y} C${x1 + pull},${from.y} ${x2 - pull},${to.y} ${x2},${to.y}`}
    />
  );
}

interface TurnProps extends ScoreProps {
  readonly placed: PlacedTurn;
  readonly turn: TurnProgress | undefined;
  readonly index: number;
  readonly layout: ScoreLayout;
}

function Turn(props: TurnProps): JSX.Element {
  const { placed, turn, layout, system, progress, index } = props;
  const classes = ["turn", agentClass(system, placed.agent), progress.active === index ? "active" : ""];
  const spoken = spokenAnswer(
    (turn?.tokens ?? [])
      .filter(({ answer }) => answer)
      .map(({ text }) => text)
      .join(""),
  );
  const words = turn?.tokens.filter(({ answer }) => !answer) ?? [];
  return (
    <g class={classes.join(" ")}>
      {layout.condensed && placed.slots > 0 && <Condensed placed={placed} turn={turn} />}
      {placed.slotsX.map((x, step) =>
        placed.writes ? (
          <Word key={step} x={x} y={placed.y} text={words[step]?.text} unit={layout.unit} />
        ) : (
          <Note key={step} {...props} x={x} step={step} thought={step < (turn?.steps ?? 0)} />
        ),
      )}
      {placed.answers && (
        <text
          class={`score-answer${spoken === "" ? " wait" : spoken.length > 4 ? " long" : ""}`}
          x={placed.outX + 12}
          y={placed.y - 9}
        >
          {spoken === "" ? "answer" : showToken(spoken.length > 8 ? `${spoken.slice(0, 7)}…` : spoken)}
        </text>
      )}
    </g>
  );
}

/** A turn with very many steps, drawn as a progress bar. */
function Condensed({ placed, turn }: { placed: PlacedTurn; turn: TurnProgress | undefined }): JSX.Element {
  const width = placed.outX - placed.inX;
  const done = Math.max(turn?.steps ?? 0, turn?.tokens.length ?? 0);
  return (
    <g>
      <rect class="span" x={placed.inX} y={placed.y - 5} width={width} height={10} rx={2} />
      <rect
        class="span full"
        x={placed.inX}
        y={placed.y - 5}
        width={width * Math.min(1, done / placed.slots)}
        height={10}
        rx={2}
      />
    </g>
  );
}

function Note({
  x,
  step,
  thought,
  placed,
  index,
  layout,
  lenses,
  selection,
  onSelect,
  system,
}: TurnProps & { x: number; step: number; thought: boolean }): JSX.Element {
  const { y } = placed;
  const radius = Math.max(2.4, Math.min(6.5, layout.unit * 0.3));
  const likely = thought ? lenses[index]?.[step] : undefined;
  const best = likely?.[0];
  const shape = (
    <path class={thought ? "note full" : "note"} d={markPath(indexOf(system, placed.agent), radius)} />
  );
  const word = best && layout.unit >= WORD_ROOM && (
    <text class="note-word" y={23}>
      {showToken(best.text)}
    </text>
  );
  if (!best || !onSelect) {
    return (
      <g transform={`translate(${x},${y})`}>
        {shape}
        {word}
      </g>
    );
  }
  const chosen = selection?.turn === index && selection.step === step;
  const select = (): void => onSelect({ turn: index, step });
  const label = `${placed.agent}, ${formatRound(placed.round)}, latent step ${step + 1}: closest to ${showToken(best.text)}, ${formatPercent(best.probability)}`;
  return (
    // biome-ignore lint/a11y/useSemanticElements: SVG has no button
    <g
      class={chosen ? "note-button chosen" : "note-button"}
      transform={`translate(${x},${y})`}
      role="button"
      tabindex={chosen || (selection === undefined && index === 0 && step === 0) ? 0 : -1}
      aria-label={label}
      aria-pressed={chosen}
      onClick={select}
      onFocus={select}
      onKeyDown={(event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        // Space would also scroll the page.
        event.preventDefault();
        select();
      }}
    >
      <rect
        class="note-target"
        x={-Math.max(12, layout.unit / 2)}
        y={-15}
        width={Math.max(24, layout.unit)}
        height={44}
      />
      {chosen && <circle class="note-ring" r={radius + 5} />}
      {shape}
      {word}
    </g>
  );
}

function Word({
  x,
  y,
  text,
  unit,
}: {
  x: number;
  y: number;
  text: string | undefined;
  unit: number;
}): JSX.Element {
  const size = Math.max(2, Math.min(4.5, unit * 0.25));
  return (
    <g transform={`translate(${x},${y})`}>
      <rect
        class={text === undefined ? "word" : "word full"}
        x={-size}
        y={-size}
        width={2 * size}
        height={2 * size}
      />
      {text !== undefined && unit >= WORD_ROOM && (
        <text class="note-word said" y={23}>
          {showToken(text.trim() || text)}
        </text>
      )}
    </g>
  );
}

/** The words that the selected thought is closest to. Its height is fixed. */
export function Reading({
  system,
  progress,
  lenses,
  selection,
}: Pick<ScoreProps, "system" | "progress" | "lenses" | "selection">): JSX.Element {
  const turn = selection && progress.turns[selection.turn];
  const likely = selection && lenses[selection.turn]?.[selection.step];
  if (!turn || !likely) {
    const any = lenses.some((lens) => lens && lens.length > 0);
    return (
      <p class="reading empty">
        {any
          ? "Select a note to see which words the thought is closest to, according to its agent’s own output head."
          : "Each note will be one latent thought: a vector that is never turned into a word."}
      </p>
    );
  }
  return (
    <div class={`reading ${agentClass(system, turn.agent)}`}>
      <p class="reading-of">
        <Mark system={system} agent={turn.agent} />
        {turn.agent}, {formatRound(turn.round)}, thought {selection.step + 1} is closest to
      </p>
      <ol class="likely">
        {likely.map(({ tokenId, text, probability }) => (
          <li key={tokenId}>
            <code>{showToken(text)}</code>
            <span class="likely-bar" style={{ "--share": probability }} />
            <span class="likely-share">{formatPercent(probability)}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
