/** A run whose turns are taken on several devices: the same plan, hand-offs and result as on one. */
import {
  type Carried,
  Change,
  type Counters,
  type EarlyStop,
  EngineError,
  type HandoffSummary,
  planRun,
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
  const shared = new SharedRun(crew, options, { onEvent, ...(signal ? { signal } : {}) });
  const began = performance.now();
  for (const [index, turn] of turns.entries()) if (await shared.take(turn, index)) break;
  return shared.result(turns, performance.now() - began);
}

class SharedRun {
  readonly #run = crypto.randomUUID();
  /** What the devices are asked: they compute turns, and do not compare rounds. */
  readonly #asked: RunOptions;
  readonly #change: Change | undefined;
  readonly #summaries: TurnSummary[] = [];
  readonly #handoffs: HandoffSummary[] = [];
  #carried: Readonly<Record<string, Carried>> = {};
  #before: Pick<TurnRequest, "drawn" | "calls"> = { drawn: 0, calls: 0 };
  #answer: TurnResult["answer"];
  #earlyStop: EarlyStop | undefined;

  constructor(
    private readonly crew: Crew,
    private readonly options: RunOptions,
    private readonly hooks: SharedHooks & { readonly onEvent: (event: RunEvent) => void },
  ) {
    const { earlyStopping: _, ...asked } = options;
    this.#asked = asked;
    const { edges, settings } = planRun(crew.system, options);
    const feedback = edges.flatMap(({ id, feedback }) => (feedback ? [id] : []));
    if (settings.earlyStopping) this.#change = new Change(feedback, settings.earlyStopping.threshold);
  }

  /** Takes a turn. @returns whether the run has ended with it. */
  async take(shared: SharedTurn, index: number): Promise<boolean> {
    const before = this.#carried;
    await this.#perform(shared, index, this.#asked);
    const { round, mayStop } = shared.turn;
    this.#earlyStop = mayStop ? this.#change?.endsIn(round) : undefined;
    if (!this.#earlyStop) return this.#answer !== undefined;
    // The deciding agent takes the turn again, as the last one of a run of fewer rounds (docs/recursion.md, rule 10).
    this.#carried = before;
    const fewer = { ...this.#asked, rounds: round + 1 };
    const turns = planTurns(this.crew.system, fewer);
    await this.#perform(turns.at(-1) as SharedTurn, turns.length - 1, fewer);
    return true;
  }

  async #perform(shared: SharedTurn, index: number, options: RunOptions): Promise<void> {
    const { turn, arrives, sends } = shared;
    const { signal, onEvent } = this.hooks;
    const arriving = arrives.flatMap(({ edge }) => {
      const each = this.#carried[edge.id];
      return each ? [[edge.id, each] as const] : [];
    });
    const request = { options, turn: index, carried: Object.fromEntries(arriving), ...this.#before };
    const hooks = { onEvent: onceOnly(onEvent), ...(signal ? { signal } : {}) };
    const result = await this.crew.perform({ run: this.#run, agent: turn.agent, request, shared }, hooks);
    for (const { edge, round } of sends) {
      const each = result.carried[edge.id];
      if (!each) throw new EngineError("internal", `turn ${index} has not sent over '${edge.id}'`);
      this.#carried = { ...this.#carried, [edge.id]: each };
      const similarity = this.#compare(edge.id, each);
      const summary = {
        ...summarise(each, edge, round, options.trace?.handoffs ?? false),
        ...(similarity === undefined ? {} : { similarity }),
      };
      this.#handoffs.push(summary);
      onEvent({ kind: "handoff", ...summary });
    }
    this.#before = { drawn: result.drawn, calls: result.calls };
    this.#summaries.push(result.summary);
    onEvent({ kind: "turn-end", ...result.summary });
    this.#answer = result.answer;
  }

  #compare(edge: string, carried: Carried): number | undefined {
    return this.#change?.watches(edge) && "rows" in carried
      ? this.#change.compare(edge, carried.rows)
      : undefined;
  }

  /** @throws EngineError if no turn has answered. */
  result(turns: readonly SharedTurn[], ms: number): RunResult {
    if (!this.#answer) throw new EngineError("internal", "the plan's last turn does not answer");
    const result = totals(this.options, turns, this.#summaries, this.#handoffs, this.#answer, ms);
    return { ...result, ...(this.#earlyStop && { earlyStop: this.#earlyStop }) };
  }
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
