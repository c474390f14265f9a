/** Writes a run to a file and reads it back. core/recursivemas/system/saved_run.py describes the format. */
import { snakeise } from "./camel";
import { FormatError } from "./errors";
import { parseFile } from "./format";
import type {
  Decoding,
  HandoffSummary,
  Matrix,
  RunResult,
  SavedRun as SavedFile,
  SavedOptions,
  SavedPrompt,
  Scoring,
  Step,
  SystemView,
  Token,
  TurnStart,
  TurnSummary,
} from "./generated/types";
import { SAVED_RUN } from "./generated/validators";
import { encodeFloats } from "./matrix";
import { isProperty } from "./names";

/** Other prompts for an agent, for one run. */
export type PromptOverride = Omit<SavedPrompt, "agent">;

/** One question to answer. Everything absent is taken from the system. */
export interface RunOptions extends Partial<Omit<SavedOptions, "question" | "decoding" | "prompts">> {
  readonly question: string;
  readonly decoding?: Partial<Decoding>;
  /** By agent id. */
  readonly prompts?: Readonly<Record<string, PromptOverride>>;
  /**
   * Whether each step reports its thought's likeliest tokens at once, if the trace asks for them. Each step then waits for
   * the GPU, and computes the LM head; hand-offs are the same. Saved runs leave it out. Default false.
   */
  readonly lensEachStep?: boolean;
}

/** What a file keeps of an event, with the whole turn or hand-off that it reports. */
export type RecordedEvent =
  | Omit<TurnStart, "at">
  | Omit<Step, "at">
  | Omit<Token, "at">
  | ({ readonly kind: "handoff" } & HandoffSummary)
  | ({ readonly kind: "turn-end" } & TurnSummary);

/** A run that ended, as the page has it. */
export interface SavedRun {
  readonly system: SystemView;
  /** undefined: the run was saved by a page that did not write it down. */
  readonly origin: { readonly manifest: string | undefined; readonly links: string | undefined } | undefined;
  readonly expected: string | undefined;
  readonly choices: readonly string[] | undefined;
  readonly scoring: Scoring;
  /** Complete: nothing is left to the system's defaults. */
  readonly options: RunOptions;
  readonly events: readonly { readonly at: number; readonly event: RecordedEvent }[];
  readonly result: RunResult;
}

/**
 * @returns the content of a file; `readSavedRun` gives the run back.
 * @throws FormatError if the run could not be read back, because its options are not complete.
 */
export function writeSavedRun(run: SavedRun): string {
  const { system, origin, expected, choices, scoring, options, events, result } = run;
  const prompts = Object.entries(options.prompts ?? {}).map(([agent, each]) => ({ agent, ...each }));
  const file = {
    format: "recursivemas.trace",
    version: SAVED_RUN.version,
    system,
    origin: origin && { manifestSha256: origin.manifest ?? null, links: origin.links ?? null },
    expected: expected ?? null,
    choices: choices ?? null,
    scoring,
    options: { ...options, prompts, lensEachStep: undefined },
    events: writeEvents(events),
    result,
  };
  const text = JSON.stringify(snakeise(file), (_, value) =>
    value instanceof Float32Array ? encodeFloats(value) : value,
  );
  readSavedRun(text);
  return text;
}

/** Turns and hand-offs stand in the result; their events name them by index. */
function writeEvents(events: SavedRun["events"]): unknown[] {
  const seen = { handoff: 0, "turn-end": 0 };
  return events.map(({ at, event }) => {
    const { kind, ...rest } = event;
    if (kind === "handoff" || kind === "turn-end") return { kind, at, index: seen[kind]++ };
    // What is of use only while the run goes on is not kept.
    return { kind, at, ...rest, counters: undefined, tool: undefined, lens: undefined };
  });
}

/**
 * @param text - the content of a file.
 * @throws FormatError for anything that is not a whole, consistent run.
 */
export function readSavedRun(text: string): SavedRun {
  const file = parseFile(text, "this file", SAVED_RUN);
  const { system, origin, scoring, options, result } = file;
  const { prompts, ...settings } = options;
  const run: SavedRun = {
    system,
    origin: origin && { manifest: origin.manifestSha256 ?? undefined, links: origin.links ?? undefined },
    expected: file.expected ?? undefined,
    choices: file.choices ?? undefined,
    scoring,
    options: {
      ...settings,
      ...(prompts.length > 0
        ? { prompts: Object.fromEntries(prompts.map(({ agent, ...each }) => [agent, each])) }
        : {}),
    },
    events: file.events.flatMap((event) => readEvent(event, result)),
    result,
  };
  const problem = inconsistency(run);
  if (problem !== undefined) throw new FormatError(`this saved run contradicts itself: ${problem}`);
  return run;
}

/** An event that names no turn or hand-off is dropped; `inconsistency` then finds the gap. */
function readEvent({ at, ...event }: SavedFile["events"][number], result: RunResult): SavedRun["events"] {
  if (event.kind === "handoff") {
    const handoff = result.handoffs[event.index];
    return handoff ? [{ at, event: { kind: "handoff", ...handoff } }] : [];
  }
  if (event.kind === "turn-end") {
    const turn = result.turns[event.index];
    return turn ? [{ at, event: { kind: "turn-end", ...turn } }] : [];
  }
  return [{ at, event }];
}

/** Unknown names and counts that disagree would draw nonsense. */
function inconsistency({ system, options, events, result }: SavedRun): string | undefined {
  const taken = [...system.agents, ...system.edges].find(({ id }) => isProperty(id));
  if (taken) return `'${taken.id}' has a meaning in JavaScript and names no agent or edge`;
  const agents = new Set(system.agents.map(({ id }) => id));
  const edges = new Set(system.edges.map(({ id }) => id));
  const unknown = options.order?.find((id) => !agents.has(id));
  if (unknown) return `its order names the agent '${unknown}', which the system does not have`;
  const named = events.map(({ event }) => event).find((event) => !agents.has(agentOf(event)));
  if (named) return `an event names the agent '${agentOf(named)}', which the system does not have`;
  const edge = system.edges.find(({ from, to }) => !agents.has(from) || !agents.has(to));
  if (edge) return `the edge '${edge.id}' joins an agent that the system does not have`;
  const handoff = result.handoffs.find((each) => !edges.has(each.edge));
  if (handoff) return `a hand-off names the edge '${handoff.edge}', which the system does not have`;
  const ends = events.filter(({ event }) => event.kind === "turn-end").length;
  const starts = events.filter(({ event }) => event.kind === "turn-start").length;
  const turns = result.turns.length;
  if (ends !== turns || starts !== turns)
    return `${starts} turns begin, ${ends} end, and ${turns} are described`;
  const stopped = contradictoryStop(options, result);
  if (stopped) return stopped;
  const broken = matrices(options, result).find(({ rows, columns, data }) => data.length !== rows * columns);
  if (broken)
    return `a matrix must have rows × columns numbers, ${broken.rows} × ${broken.columns}, it has ${broken.data.length}`;
  return undefined;
}

/** A run that stopped early was asked to, in the round of its last turn, and some rounds were left. */
function contradictoryStop(options: RunOptions, { earlyStop, turns }: RunResult): string | undefined {
  if (!earlyStop) return undefined;
  const { earlyStopping, rounds = 0 } = options;
  const { round, similarity } = earlyStop;
  if (!earlyStopping) return "it stopped early, which nobody asked for";
  if (similarity < earlyStopping.threshold)
    return `it stopped at the similarity ${similarity}, which is below its threshold ${earlyStopping.threshold}`;
  if (turns.at(-1)?.round !== round || round + 1 >= rounds)
    return `it stopped early in round ${round + 1} of ${rounds}, and its last turn is of another round`;
  return undefined;
}

function agentOf(event: RecordedEvent): string {
  return event.kind === "handoff" ? event.from : event.agent;
}

function matrices(options: RunOptions, result: RunResult): readonly Matrix[] {
  const replaced = Object.values(options.replace ?? {}).flatMap((each) => (each === "zeros" ? [] : each));
  const kept = [...result.turns.map((turn) => turn.thoughts), ...result.handoffs.map((each) => each.states)];
  return [...replaced, ...kept.flatMap((each) => each ?? [])];
}
