/** A run whose turns are taken on several devices: the same plan, hand-offs and result as on one. */
import {
  type Carried,
  type Counters,
  EngineError,
  type HandoffSummary,
  type RunEvent,
  type RunHooks,
  type RunOptions,
  type RunResult,
  type System,
  type TurnRequest,
  type TurnResult,
  type TurnSummary,
} from "../engine/api";
import { planTurns, type SharedTurn } from "./turns";

/** One turn to be taken wherever its agent is. */
export interface Job {
  readonly run: string;
  readonly agent: string;
  readonly request: TurnRequest;
  readonly shared: SharedTurn;
}

/** The devices. */
export interface Crew {
  readonly system: System;
  /** Performs a turn where its agent is. If a device is lost, the turn is taken again, and its events come again. */
  perform(job: Job, hooks: RunHooks): Promise<TurnResult>;
}

/** What a run on several devices reports. */
export type SharedHooks = Pick<RunHooks, "signal" | "onEvent">;

export type SharedResult = RunResult;

/**
 * Answers one question.
 *
 * @throws EngineError
 */
export async function runShared(
  crew: Crew,
  options: RunOptions,
  { signal, onEvent = () => {} }: SharedHooks,
): Promise<SharedResult> {
  if (options.search || options.replace)
    throw new EngineError(
      "bad-option",
      "a run on several devices can neither search nor replace hand-offs; turn that off, or run it on this device alone",
    );
  const turns = planTurns(crew.system, options);
  const run = crypto.randomUUID();
  const began = performance.now();
  const carried: Record<string, Carried> = {};
  const summaries: TurnSummary[] = [];
  const handoffs: HandoffSummary[] = [];
  let before: Pick<TurnRequest, "drawn" | "calls"> = { drawn: 0, calls: 0 };
  let answer: TurnResult["answer"];
  for (const [index, shared] of turns.entries()) {
    const { turn, arrives, sends } = shared;
    const arriving = arrives.flatMap(({ edge }) => {
      const each = carried[edge.id];
      return each ? [[edge.id, each] as const] : [];
    });
    const request = { options, turn: index, carried: Object.fromEntries(arriving), ...before };
    const hooks = { onEvent: onceOnly(onEvent), ...(signal ? { signal } : {}) };
    const result = await crew.perform({ run, agent: turn.agent, request, shared }, hooks);
    for (const { edge, round } of sends) {
      const each = result.carried[edge.id];
      if (!each) throw new EngineError("internal", `turn ${index} has not sent over '${edge.id}'`);
      carried[edge.id] = each;
      const summary = summarise(each, edge, round, options.trace?.handoffs ?? false);
      handoffs.push(summary);
      onEvent({ kind: "handoff", ...summary });
    }
    before = { drawn: result.drawn, calls: result.calls };
    summaries.push(result.summary);
    onEvent({ kind: "turn-end", ...result.summary });
    answer = result.answer;
  }
  if (!answer) throw new EngineError("internal", "the plan's last turn does not answer");
  return totals(options, turns, summaries, handoffs, answer, performance.now() - began);
}

/**
 * Passes on what happens within a turn. If the turn is taken again, its first events are the same, and they are not
 * passed on twice. Hand-offs and the end of the turn are told by the run.
 */
function onceOnly(onEvent: (event: RunEvent) => void): (event: RunEvent) => void {
  let told = 0;
  let seen = 0;
  return (event) => {
    if (event.kind === "handoff" || event.kind === "turn-end") return;
    if (event.kind === "turn-start") seen = 0;
    seen += 1;
    if (seen <= told) return;
    told = seen;
    onEvent(event);
  };
}

function summarise(
  carried: Carried,
  edge: SharedTurn["sends"][number]["edge"],
  round: number,
  traced: boolean,
): HandoffSummary {
  const { id, from, to } = edge;
  const named = { round, edge: id, from, to };
  if ("text" in carried) return { ...named, rows: 0, text: carried.text };
  return { ...named, rows: carried.rows.rows, ...(traced ? { states: carried.rows } : {}) };
}

function totals(
  options: RunOptions,
  turns: readonly SharedTurn[],
  summaries: readonly TurnSummary[],
  handoffs: readonly HandoffSummary[],
  answer: NonNullable<TurnResult["answer"]>,
  ms: number,
): RunResult {
  const sum = (key: "decodedTokens" | "latentSteps"): number =>
    summaries.reduce((total, each) => total + each[key], 0);
  return {
    answer: answer.text,
    stopReason: answer.stopReason,
    mode: options.mode ?? "latent",
    rounds: new Set(summaries.map(({ round }) => round)).size,
    latentSteps: options.latentSteps ?? Math.max(0, ...turns.map(({ turn }) => turn.latentSteps)),
    decodedTokens: sum("decodedTokens"),
    answerTokenIds: answer.tokenIds,
    totalLatentSteps: sum("latentSteps"),
    ms,
    turns: summaries,
    handoffs,
    counters: summaries.map(({ counters }) => counters).reduce(plus),
  };
}

/** Counts of all devices together; memory is the most that one of them had. */
function plus(one: Counters, other: Counters): Counters {
  const entries = Object.entries(one).map(([key, value]) => {
    const more = other[key as keyof Counters] ?? 0;
    const memory = key === "liveBytes" || key === "peakBytes";
    return [key, memory ? Math.max(value, more) : value + more];
  });
  return Object.fromEntries(entries) as unknown as Counters;
}
