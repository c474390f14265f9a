/** The system as a graph, which shows the run as it goes. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { showToken } from "../lib/format";
import type { GraphPart } from "../model/chapters";
import { type GraphLayout, layOut, type PlacedEdge, type Point } from "../model/graph-layout";
import type { Progress, TurnProgress } from "../model/progress";
import type { Lens } from "../model/recording";
import { type AgentView, modelOf, nameOf, type SystemView } from "../model/system-view";
import { spokenAnswer } from "../task/tools";
import { agentClass, indexOf, markPath } from "./mark";
import { useWidth } from "./use-width";

interface GraphProps {
  readonly system: SystemView;
  readonly progress: Progress;
  /** By turn. */
  readonly lenses: readonly (Lens | undefined)[];
  /** M; each agent's orbit has as many beads. */
  readonly latentSteps: number;
  /** Ids of edges that are switched off. */
  readonly off: readonly string[];
  readonly point?: GraphPart | undefined;
}

/** Pixels between the captions of neighbours, and of a caption's letters. */
const [CAPTION_GAP, LETTER] = [12, 7.6];
/** More beads than this would touch each other. */
const MAX_BEADS = 28;

export function Graph(props: GraphProps): JSX.Element {
  const { system, progress } = props;
  const [host, width] = useWidth<HTMLDivElement>(820);
  const layout = useMemo(() => layOut(system, width), [system, width]);
  const active = progress.active === undefined ? undefined : progress.turns[progress.active];
  return (
    <div class="graph" ref={host} data-point={props.point}>
      <svg width={layout.width} height={layout.height} role="img" aria-label={describe(system)}>
        {layout.edges.map((placed) => (
          <Edge key={placed.edge.id} placed={placed} {...props} />
        ))}
        {system.agents.map((agent) => (
          <Node key={agent.id} agent={agent} layout={layout} active={active?.agent === agent.id} {...props} />
        ))}
        {layout.answer && <Answer {...layout.answer} text={spokenAnswer(progress.answer)} />}
      </svg>
    </div>
  );
}

/** The graph in words. */
function describe(system: SystemView): string {
  const edges = system.edges.map(
    ({ from, to, feedback }) => `${from} to ${to}${feedback ? ", in the next round" : ""}`,
  );
  return `${system.agents.length} agents: ${system.agents.map(({ id }) => id).join(", ")}. Hand-offs: ${edges.join("; ") || "none"}.`;
}

function Edge({ placed, system, progress, off }: GraphProps & { placed: PlacedEdge }): JSX.Element {
  const { edge, path, end, angle, middle } = placed;
  const classes = ["edge", agentClass(system, edge.from)];
  if (edge.feedback) classes.push("feedback");
  if (off.includes(edge.id)) classes.push("off");
  if (progress.handoffs.some((each) => each.edge === edge.id && (each.rows > 0 || each.text)))
    classes.push("used");
  const travelling = progress.travelling.includes(edge.id);
  const only = edge.feedback && system.edges.filter(({ feedback }) => feedback).length === 1;
  return (
    <g class={classes.join(" ")}>
      <title>{`${edge.from} → ${edge.to}${edge.feedback ? " (to the next round)" : ""}`}</title>
      <path class="edge-line" d={path} />
      <path
        class="edge-head"
        d="M0,0 L-9,-4.5 L-9,4.5 Z"
        transform={`translate(${end.x},${end.y}) rotate(${angle})`}
      />
      {travelling && <path key={progress.handoffs.length} class="edge-packet" d={path} pathLength={100} />}
      {only && (
        <text class="edge-note" x={middle.x} y={middle.y + 4}>
          next round
        </text>
      )}
    </g>
  );
}

interface NodeProps extends GraphProps {
  readonly agent: AgentView;
  readonly layout: GraphLayout;
  readonly active: boolean;
}

function Node({ agent, layout, active, system, progress, lenses, latentSteps }: NodeProps): JSX.Element {
  const { x, y } = layout.nodes.get(agent.id) ?? { x: 0, y: 0 };
  const { radius, orbit } = layout;
  const index = progress.turns.findLastIndex((turn) => turn.agent === agent.id);
  const turn = progress.turns[index];
  const beads = turn && turn.of > 0 ? turn.of : latentSteps;
  const classes = ["node", agentClass(system, agent.id), active ? "active" : "", turn ? "seen" : ""];
  return (
    <g class={classes.join(" ")} transform={`translate(${x.toFixed(1)},${y.toFixed(1)})`}>
      <title>{about(agent)}</title>
      <circle class="node-halo" r={orbit + 9} />
      <circle class="node-orbit" r={orbit} />
      <path
        class="node-turn"
        d="M-4,-5 L5,0 L-4,5"
        transform={`rotate(-38) translate(${orbit},0) rotate(90)`}
      />
      <circle class="node-disc" r={radius} />
      <path class="node-mark" d={markPath(indexOf(system, agent.id), radius * 0.36)} />
      <Beads count={beads} filled={turn?.steps ?? 0} orbit={orbit} />
      <text class="node-name" y={orbit + 22}>
        {nameOf(agent)}
      </text>
      <text class="node-caption" y={orbit + 39}>
        {caption(agent, turn, lenses[index], captionRoom(layout, { x, y }))}
      </text>
    </g>
  );
}

/** How many letters a node's caption may have, so that it meets neither another one nor the border. */
function captionRoom({ nodes, width }: GraphLayout, { x, y }: Point): number {
  const beside = [...nodes.values()].filter((other) => other.x !== x && Math.abs(other.y - y) < 30);
  const wide = Math.min(2 * x, 2 * (width - x), ...beside.map((other) => Math.abs(other.x - x)));
  return Math.floor((wide - CAPTION_GAP) / LETTER);
}

/** The agent's model in full. */
function about({ id, model, architecture, hiddenSize }: AgentView): string {
  return `${id}: ${model ? `${model}, ` : ""}${architecture}, hidden size ${hiddenSize}`;
}

const shortened = (text: string, most: number): string =>
  text.length > most ? `${text.slice(0, most - 1)}…` : text;

/** What the agent says or thinks; its model before its first turn. */
function caption(
  agent: AgentView,
  turn: TurnProgress | undefined,
  lens: Lens | undefined,
  room: number,
): string {
  if (turn && turn.tokens.length > 0) {
    const said = turn.tokens.map(({ text }) => text).join("");
    return `“${showToken(said.length > 14 ? `…${said.slice(-13)}` : said)}”`;
  }
  const thought = turn && turn.steps > 0 ? lens?.[turn.steps - 1]?.[0] : undefined;
  if (thought) return `≈ ${showToken(thought.text)}`;
  return shortened(modelOf(agent), room);
}

function Beads({ count, filled, orbit }: { count: number; filled: number; orbit: number }): JSX.Element {
  if (count > MAX_BEADS) {
    const share = Math.min(1, filled / count) * 100;
    return (
      <circle
        class="node-arc"
        r={orbit}
        pathLength={100}
        stroke-dasharray={`${share} 100`}
        transform="rotate(-90)"
      />
    );
  }
  const beads = Array.from({ length: count }, (_, index) => beadAt(index, count, orbit));
  return (
    <g>
      {beads.map(({ x, y }, index) => (
        <circle
          key={index}
          class={index < filled ? "bead full" : "bead"}
          cx={x}
          cy={y}
          r={count > 14 ? 3.2 : 4.6}
        />
      ))}
    </g>
  );
}

/** Beads are centred on the top of the orbit; the more there are, the closer they stand. */
function beadAt(index: number, count: number, orbit: number): Point {
  const step = Math.min(26, 300 / Math.max(1, count));
  const angle = ((-90 + (index - (count - 1) / 2) * step) * Math.PI) / 180;
  return { x: orbit * Math.cos(angle), y: orbit * Math.sin(angle) };
}

function Answer({ from, to, text }: { from: Point; to: Point; text: string }): JSX.Element {
  const short = text.trim().length > 9 ? `${text.trim().slice(0, 8)}…` : text.trim();
  return (
    <g class={text === "" ? "answer-stem" : "answer-stem used"}>
      <path class="edge-line" d={`M${from.x},${from.y} H${to.x - 8}`} />
      <path class="edge-head" d="M0,0 L-9,-4.5 L-9,4.5 Z" transform={`translate(${to.x},${to.y})`} />
      <text class={text === "" ? "answer-wait" : "answer-text"} x={to.x + 10} y={to.y}>
        {text === "" ? "answer" : short}
      </text>
    </g>
  );
}
