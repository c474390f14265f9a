/**
 * Performs the turns that `plan.ts` planned: any graph of agents, any number of rounds and latent steps, every mode.
 *
 * Source: docs/recursion.md; training/recursivemas/training/recursion.py is the reference, and the browser tests
 * compare every hand-off with it. `agent.ts` runs the agents on the GPU.
 */
import { isComplete } from "./completeness";
import { added } from "./counters";
import type { Fetch } from "./download";
import { Change } from "./early-stopping";
import { EngineError, throwIfCancelled } from "./errors";
import { type Part, type Performer, type Rows, splitLeading } from "./performer";
import {
  type Plan,
  type PlannedEdge,
  type PlannedTurn,
  type Prompts,
  planPrompts,
  planRun,
  samplingOf,
} from "./plan";
import { leadingTokens, marksOf, type Prefix, prefixOf } from "./prefix";
import { strip } from "./prompt";
import { UniformSource } from "./random";
import type { System } from "./system";
import { StreamDecoder } from "./tokenizer";
import { callTool } from "./tools";
import type {
  AnswerRetry,
  Carried,
  Counters,
  EarlyStop,
  HandoffSummary,
  Matrix,
  RunEvent,
  RunOptions,
  RunResult,
  StopReason,
  TokenProbability,
  ToolCall,
  TurnRequest,
  TurnResult,
  TurnSummary,
} from "./types";

/** Where a run takes place. */
export interface Stage {
  readonly system: System;
  /**
   * Gives an agent for its turn. If agents are not `resident`, the one before leaves the GPU, with everything that it
   * computed.
   */
  readonly enter: (id: string) => Promise<Performer>;
  /** Whether all agents stay on the GPU. If not, hand-offs wait on the CPU for their readers. */
  readonly resident: boolean;
  /** The GPU's counts now, and since an earlier moment. */
  readonly counters: { snapshot(): Counters; since(earlier: Counters): Counters };
  /** Lets messages in, for example a cancellation. */
  readonly tick: () => Promise<void>;
  readonly now: () => number;
  /** For the search tool alone. */
  readonly fetch: Fetch;
}

/** A hand-off that waits for its reader, on the GPU or off it. */
type Waiting = { readonly states: Rows } | Carried;

/** Text that a turn decoded, and why it ended. */
interface Decoded {
  readonly text: string;
  /** Sampled tokens and the results of tools. */
  readonly ids: readonly number[];
  readonly sampled: number;
  readonly reason: StopReason;
  /** The last tokens, if they have not been fed yet. */
  readonly unfed: readonly number[];
}

/** What is being decoded. */
interface Writing {
  readonly stream: StreamDecoder;
  /** The most sampled tokens. */
  readonly limit: number;
  /** Whether it is the answer, not a thought. */
  readonly answer: boolean;
  /** Whether tools may be called. */
  readonly tools: boolean;
  /** Tokens before it that the repetition penalty counts, too. */
  readonly before: readonly number[];
}

/** What a turn did, without its time and counts. */
interface TurnOutcome extends Pick<TurnSummary, "decodedTokens" | "text"> {
  readonly sent?: readonly Sent[];
}

/** What is known of an agent in a run before its turns. */
interface Known {
  readonly prefix: Prefix;
  /** The most positions of its prompts, as far as the plan tells. */
  readonly prompt: number;
  /** The most positions that a turn adds to them. */
  readonly added: number;
}

/** Allocates room for latent thoughts; the turn frees it when it ends. */
type Room = (rows: number) => Rows;

/** The time that something took, and what it asked of the GPU. */
type Spent = Pick<TurnSummary, "ms" | "counters">;

/**
 * Answers one question.
 *
 * @throws EngineError; the GPU memory of the run is freed then too.
 */
export async function runSystem(stage: Stage, options: RunOptions, hooks: Hooks = {}): Promise<RunResult> {
  const run = planned(stage, options, hooks);
  try {
    return await run.perform();
  } finally {
    run.free();
  }
}

/**
 * Performs one turn of a run whose other turns are taken elsewhere. Its hand-offs come to the CPU.
 *
 * @throws EngineError `bad-option` for a turn that the run does not have, and as `runSystem`.
 */
export async function performTurn(
  stage: Stage,
  request: TurnRequest,
  hooks: Hooks = {},
): Promise<TurnResult> {
  // Whoever takes the other turns sees whether rounds repeat, too.
  const { earlyStopping: _, ...options } = request.options;
  const run = planned({ ...stage, resident: false }, options, hooks, request);
  try {
    return await run.performOne(request);
  } finally {
    run.free();
  }
}

/** What a run reports to, and what can stop it. */
interface Hooks {
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: (event: RunEvent) => void;
}

function planned(stage: Stage, options: RunOptions, hooks: Hooks, before?: Before): Run {
  if (typeof options.question !== "string") throw new EngineError("bad-option", "question must be a text");
  const plan = planRun(stage.system, options);
  const prompts = planPrompts(stage.system, options);
  const blank = planPrompts(stage.system, withoutText(options));
  return new Run(stage, options, plan, prompts, blank, hooks.signal, hooks.onEvent ?? (() => {}), before);
}

/** The same run for a question without any text. */
function withoutText(options: RunOptions): RunOptions {
  const { fields = {} } = options;
  return {
    ...options,
    question: "",
    fields: Object.fromEntries(Object.keys(fields).map((name) => [name, ""])),
  };
}

/** What the turns that were taken elsewhere have used up. */
type Before = Pick<TurnRequest, "drawn" | "calls">;

class Run {
  readonly #turns: TurnSummary[] = [];
  readonly #handoffs: HandoffSummary[] = [];
  /** By edge id. A feedback edge's hand-off stays here until its reader's turn in the next round. */
  readonly #carried = new Map<string, Waiting>();
  /** Hand-offs that are not on their way: those of the present turn, and those that end the run. */
  #unread: Sent[] = [];
  /** Compares rounds, if the run may stop early. */
  readonly #change: Change | undefined;
  #earlyStop: EarlyStop | undefined;
  /** Hand-offs that were uploaded from the CPU for the turn that reads them. */
  readonly #uploaded: Rows[] = [];
  readonly #uniform: UniformSource;
  /** What reading back for the trace has taken; the run's own time and counts leave it out. */
  readonly #tracing: Spent[] = [];
  /** Positions of this turn that its agent read in a context before the present one. */
  #earlier = 0;
  /** By agent id. */
  readonly #agents = new Map<string, Known>();
  /** Calls to tools so far. */
  #calls: number;

  constructor(
    private readonly stage: Stage,
    private readonly options: RunOptions,
    private readonly plan: Plan,
    private readonly prompts: Prompts,
    private readonly blank: Prompts,
    private readonly signal: AbortSignal | undefined,
    private readonly emit: (event: RunEvent) => void,
    { drawn, calls }: Before = { drawn: 0, calls: 0 },
  ) {
    this.#uniform = new UniformSource(plan.settings.decoding.seed, drawn);
    this.#calls = calls;
    const { earlyStopping } = plan.settings;
    const feedback = plan.edges.flatMap(({ id, feedback }) => (feedback ? [id] : []));
    if (earlyStopping && plan.turns.some(({ mayStop }) => mayStop))
      this.#change = new Change(feedback, earlyStopping.threshold);
  }

  async perform(): Promise<RunResult> {
    const spent = this.#clock();
    let answer: Decoded | undefined;
    for (const turn of this.plan.turns) {
      answer = await this.#perform(turn);
      if (answer) break;
    }
    if (!answer) throw new EngineError("internal", "the plan's last turn does not answer");
    const { mode, latentSteps } = this.plan.settings;
    const sum = (key: "decodedTokens" | "latentSteps"): number =>
      this.#turns.reduce((total, turn) => total + turn[key], 0);
    return {
      answer: answer.text,
      stopReason: answer.reason,
      mode,
      rounds: new Set(this.#turns.map(({ round }) => round)).size,
      ...(this.#earlyStop && { earlyStop: this.#earlyStop }),
      latentSteps,
      decodedTokens: sum("decodedTokens"),
      answerTokenIds: answer.ids,
      totalLatentSteps: sum("latentSteps"),
      ...this.#withoutTracing(spent()),
      turns: this.#turns,
      handoffs: this.#handoffs,
    };
  }

  async performOne({ turn: index, carried }: TurnRequest): Promise<TurnResult> {
    const turn = this.plan.turns[index];
    if (!turn) {
      const { length } = this.plan.turns;
      throw new EngineError(
        "bad-option",
        `turn must be a whole number from 0 to ${length - 1}, got ${index}`,
      );
    }
    for (const [edge, each] of Object.entries(carried)) this.#carried.set(edge, each);
    const answer = await this.#perform(turn);
    const sent = turn.sends.map(({ id }) => [id, this.#carried.get(id) as Carried] as const);
    return {
      summary: this.#turns[0] as TurnSummary,
      carried: Object.fromEntries(sent),
      ...(answer && { answer: { text: answer.text, tokenIds: answer.ids, stopReason: answer.reason } }),
      drawn: this.#uniform.drawn,
      calls: this.#calls,
    };
  }

  /** Frees the hand-offs that no agent read. */
  free(): void {
    for (const edge of [...this.#carried.keys()]) this.#drop(edge);
    for (const { states } of this.#unread) states?.free();
  }

  /** @returns the answer, if the turn ends with it. */
  async #perform(turn: PlannedTurn): Promise<Decoded | undefined> {
    await this.#pause();
    const agent = await this.stage.enter(turn.agent);
    throwIfCancelled(this.signal);
    const parts = this.#parts(agent, turn.round);
    if (turn.answers) return await this.#answerTurn(agent, turn, parts);
    if (turn.mayStop) return await this.#decidingTurn(agent, turn, parts);
    if (turn.textTokens > 0) await this.#textTurn(agent, turn, parts);
    else await this.#latentTurn(agent, turn, parts);
    return undefined;
  }

  /** A turn that rolls out latent thoughts and hands them over. */
  async #latentTurn(agent: Performer, turn: PlannedTurn, parts: readonly Part[]): Promise<void> {
    await this.#turn(agent, turn, parts, async (room, rest) => {
      const thoughts = room(turn.latentSteps);
      agent.feed(rest, "hidden");
      await this.#rollOut(agent, turn, thoughts);
      this.#handOff(agent, turn, thoughts);
      const sent = this.#carryAll();
      return await this.#endLatent(agent, await this.#compare(sent));
    });
  }

  /**
   * A latent turn of the deciding agent in which the run may end (rule 10). It then goes on to the answer, or is taken
   * again to answer, if the agent does not think before it answers.
   */
  async #decidingTurn(
    agent: Performer,
    turn: PlannedTurn,
    parts: readonly Part[],
  ): Promise<Decoded | undefined> {
    const { answerPrefix, thinkBeforeAnswer } = this.plan.settings.decoding;
    let answer: Decoded | undefined;
    await this.#turn(agent, turn, parts, async (room, rest) => {
      const thoughts = room(turn.latentSteps);
      agent.feed(rest, "hidden");
      await this.#rollOut(agent, turn, thoughts);
      // If the turn is taken again, an edge to the agent itself still carries what the round before sent.
      this.#handOff(agent, turn, thoughts);
      const sent = await this.#compare(this.#unread);
      this.#earlyStop = this.#change?.endsIn(turn.round);
      if (!this.#earlyStop) this.#carryAll();
      if (!this.#earlyStop || !thinkBeforeAnswer) return await this.#endLatent(agent, sent);
      agent.think();
      this.#feedTokens(agent, agent.tokenizer.encode(answerPrefix));
      answer = await this.#writeAnswer(agent, turn);
      return { decodedTokens: answer.sampled, text: answer.text, sent };
    });
    if (!this.#earlyStop || answer) return answer;
    const again = { ...turn, latentSteps: 0, answers: true, sends: [] };
    return await this.#answerTurn(agent, again, this.#parts(agent, turn.round));
  }

  /** Waits for the GPU at the end of a latent turn. */
  async #endLatent(agent: Performer, sent: readonly Sent[]): Promise<TurnOutcome> {
    // The turn's only synchronisation, but for hand-offs that are read. It keeps the CPU from running rounds ahead of the
    // GPU, so that the turn's time is true and cancelling takes effect, and it is where the device reports an error.
    await agent.sync();
    const waits = !this.stage.resident && this.#unread.length === 0;
    return {
      decodedTokens: 0,
      text: "",
      sent: waits ? await Promise.all(sent.map((each) => this.#park(each))) : sent,
    };
  }

  /** Reads the hand-offs that the next round would read, and compares them with those of the round before (rule 10). */
  async #compare(sent: readonly Sent[]): Promise<readonly Sent[]> {
    const change = this.#change;
    if (!change) return sent;
    return await Promise.all(
      sent.map(async (each): Promise<Sent> => {
        const matrix = change.watches(each.edge.id)
          ? (each.matrix ?? (await each.states?.read()))
          : undefined;
        if (!matrix) return each;
        const similarity = change.compare(each.edge.id, matrix);
        return { ...each, matrix, ...(similarity === undefined ? {} : { similarity }) };
      }),
    );
  }

  /** A turn of text mode: the agent writes, and its text fills the slots of its outgoing edges. */
  async #textTurn(agent: Performer, turn: PlannedTurn, parts: readonly Part[]): Promise<void> {
    await this.#turn(agent, turn, parts, async (_, rest) => {
      agent.feed(rest, "logits");
      const { text, sampled } = await this.#decode(agent, turn, this.#thought(agent, turn));
      for (const edge of turn.sends) this.#carry(edge, { text });
      return { decodedTokens: sampled, text, sent: turn.sends.map((edge) => ({ edge, rows: 0, text })) };
    });
  }

  /** The turn that answers: first its thoughts, latent or written, then the answer prefix and the answer. */
  async #answerTurn(agent: Performer, turn: PlannedTurn, parts: readonly Part[]): Promise<Decoded> {
    let answer: Decoded | undefined;
    await this.#turn(agent, turn, parts, async (room, rest) => {
      const { answerPrefix } = this.plan.settings.decoding;
      const prefix = agent.tokenizer.encode(answerPrefix);
      let written = 0;
      if (turn.latentSteps > 0) {
        agent.feed(rest, "hidden");
        await this.#rollOut(agent, turn, room(turn.latentSteps));
        // R_in of the last thought is fed too, and the answer prefix follows it.
        agent.think();
        this.#feedTokens(agent, prefix);
      } else if (turn.textTokens > 0) {
        agent.feed(rest, "logits");
        const before = await this.#decode(agent, turn, this.#thought(agent, turn));
        written = before.sampled;
        this.#feedTokens(agent, [...before.unfed, ...prefix]);
      } else {
        agent.feed([...rest, { kind: "tokens", ids: prefix }], "logits");
      }
      answer = await this.#writeAnswer(agent, turn);
      return { decodedTokens: written + answer.sampled, text: answer.text };
    });
    return answer as Decoded;
  }

  /** Decodes the answer; everything before it has been fed. */
  async #writeAnswer(agent: Performer, turn: PlannedTurn): Promise<Decoded> {
    const { maxNewTokens, stopStrings, answerRetry } = this.plan.settings.decoding;
    agent.logits();
    const stream = new StreamDecoder(agent.tokenizer, stopStrings);
    const writing = { stream, limit: maxNewTokens, answer: true, tools: true, before: [] };
    const answer = await this.#decode(agent, turn, writing);
    if (!answerRetry || isComplete(answer.text, answerRetry.needs)) return answer;
    return await this.#retry(agent, turn, answer, answerRetry, stream);
  }

  /** A thought in text mode. */
  #thought(agent: Performer, { textTokens }: PlannedTurn): Writing {
    return {
      stream: new StreamDecoder(agent.tokenizer),
      limit: textTokens,
      answer: false,
      tools: false,
      before: [],
    };
  }

  /** Goes on from the text of an incomplete answer, in a context that holds nothing else (rule 5). */
  async #retry(
    agent: Performer,
    turn: PlannedTurn,
    before: Decoded,
    { append, maxNewTokens }: AnswerRetry,
    stream: StreamDecoder,
  ): Promise<Decoded> {
    await this.#pause();
    this.#earlier += agent.position;
    const text = `${before.text}${append}`;
    const ids = agent.tokenizer.encode(text);
    agent.begin([], [], ids.length + maxNewTokens);
    agent.feed([{ kind: "tokens", ids }], "logits");
    stream.restart(text);
    const writing = { stream, limit: maxNewTokens, answer: true, tools: false, before: ids };
    const after = await this.#decode(agent, turn, writing);
    return { ...after, ids: [...ids, ...after.ids], sampled: before.sampled + after.sampled };
  }

  #feedTokens(agent: Performer, ids: readonly number[]): void {
    if (ids.length > 0) agent.feed([{ kind: "tokens", ids }], "logits");
  }

  /** Rolls out h_1 … h_M; the prompt has given h_1. Only reading thoughts waits for the GPU; each step can be cancelled. */
  async #rollOut(agent: Performer, { round }: PlannedTurn, thoughts: Rows): Promise<void> {
    const of = thoughts.rows;
    for (let step = 0; step < of; step++) {
      const spent = this.#clock();
      if (step > 0) agent.think();
      agent.recordThought(thoughts, step);
      const counted = { forwardPositions: this.#positions(agent), ...spent() };
      const read = await this.#readThought(agent);
      this.emit({ kind: "step", round, agent: agent.spec.id, step, of, ...counted, ...read });
      await this.#pause();
    }
  }

  /** Reads the tokens closest to the agent's last hidden state, if the run asks for it. This is tracing, not the run. */
  async #readThought(agent: Performer): Promise<{ readonly lens?: readonly TokenProbability[] }> {
    const { trace = {}, lensEachStep } = this.options;
    if (!trace.lensTopK || !lensEachStep) return {};
    const tracing = this.#clock();
    const thought = agent.createThoughts(1);
    try {
      agent.recordThought(thought, 0);
      const [lens = []] = await agent.lens(thought, trace.lensTopK);
      return { lens };
    } finally {
      thought.free();
      this.#tracing.push(tracing());
    }
  }

  /** Computes R_out(R_in(H)) for every edge of the turn; it stays on the GPU. */
  #handOff(agent: Performer, { round, sends }: PlannedTurn, thoughts: Rows): void {
    if (sends.length === 0) return;
    const mapped = agent.innerLink(thoughts);
    try {
      for (const edge of sends) {
        const size = this.#hiddenSize(edge.to);
        const matrix = this.#replacement(edge, round, mapped.rows, size);
        const states = matrix ? undefined : agent.outerLink(edge.id, mapped, size);
        this.#unread.push({
          ...{ edge, rows: (matrix ?? states)?.rows ?? 0 },
          ...(matrix && { matrix }),
          ...(states && { states }),
        });
      }
    } finally {
      mapped.free();
    }
  }

  /** What an edge carries in place of its sender's thoughts; undefined if it carries them. */
  #replacement(edge: PlannedEdge, round: number, rows: number, columns: number): Matrix | undefined {
    const replacement = this.options.replace?.[edge.id];
    if (replacement !== "zeros") return replacement?.[Math.min(round, replacement.length - 1)];
    return { rows, columns, data: new Float32Array(rows * columns) };
  }

  /** Takes a hand-off to the CPU, because its sender is about to leave the GPU. */
  async #park(sent: Sent): Promise<Sent> {
    const { edge, rows, states } = sent;
    if (!states) return sent;
    const matrix = sent.matrix ?? (await states.read());
    this.#carry(edge, { rows: matrix });
    const { states: _, ...rest } = sent;
    return { ...rest, rows, matrix };
  }

  async #report(
    { round }: PlannedTurn,
    { edge, rows, text, states, matrix, similarity }: Sent,
  ): Promise<void> {
    const kept = this.options.trace?.handoffs ? (matrix ?? (await states?.read())) : undefined;
    const traced = kept ? { states: kept } : {};
    const summary: HandoffSummary = {
      round,
      edge: edge.id,
      from: edge.from,
      to: edge.to,
      rows,
      ...(text === undefined ? {} : { text }),
      ...(similarity === undefined ? {} : { similarity }),
      ...traced,
    };
    this.#handoffs.push(summary);
    this.emit({ kind: "handoff", ...summary });
  }

  /** Decodes until a stop token, a stop string, the limit or the end of the context. The logits must be there. */
  async #decode(agent: Performer, turn: PlannedTurn, writing: Writing): Promise<Decoded> {
    const { stream, limit } = writing;
    const stop = new Set(agent.spec.stopTokenIds);
    let sampled = 0;
    let unfed: readonly number[] = [];
    const finish = (reason: StopReason): Decoded => ({
      text: strip(stream.text),
      ids: [...stream.ids],
      sampled,
      reason,
      unfed,
    });
    for (;;) {
      const picked = await this.#pick(agent, turn, unfed, writing, stop);
      unfed = picked.ids;
      if (picked.ids.length === 0) return finish("stop-token");
      sampled += 1;
      if (stream.stopped) return finish("stop-string");
      if (picked.refused) return finish("max-tool-calls");
      if (sampled >= limit) return finish("max-new-tokens");
      if (agent.position + unfed.length > agent.contextWindowSize) return finish("context-full");
      await this.#pause();
    }
  }

  /**
   * Feeds the tokens that have not been fed yet, and samples a token.
   *
   * @returns the token and, if it completes a call, the tool's result (rule 8); nothing for a stop token. `refused` if
   *   the call was one too many.
   */
  async #pick(
    agent: Performer,
    { round }: PlannedTurn,
    unfed: readonly number[],
    { stream, answer, tools, before }: Writing,
    stop: ReadonlySet<number>,
  ): Promise<{ readonly ids: readonly number[]; readonly refused: boolean }> {
    const spent = this.#clock();
    const [single] = unfed;
    if (unfed.length > 1) this.#feedTokens(agent, unfed);
    else if (single !== undefined) agent.decode(single);
    const tokenId = await this.#sample(agent, [...before, ...stream.ids]);
    if (stop.has(tokenId)) return { ids: [], refused: false };
    stream.ids.push(tokenId);
    const tool = tools && !stream.stopped ? await this.#call(agent, strip(stream.text)) : undefined;
    const fed = tool ? agent.tokenizer.encode(tool.text) : [];
    const text = stream.push(...fed);
    this.emit({
      kind: "token",
      round,
      agent: agent.spec.id,
      tokenId,
      text,
      ...(stream.replaces > 0 ? { replaces: stream.replaces } : {}),
      answer,
      forwardPositions: this.#positions(agent),
      ...spent(),
      ...(tool ? { tool } : {}),
    });
    return { ids: [tokenId, ...fed], refused: tool?.refused ?? false };
  }

  /** Samples a token as the run's settings or the agent's checkpoint say. */
  async #sample(agent: Performer, written: readonly number[]): Promise<number> {
    const sampling = samplingOf(this.plan.settings.decoding, agent.spec);
    const uniform = sampling.temperature > 0 ? this.#uniform.next() : 0;
    const tokenId = await agent.pick({ ...sampling, written, uniform });
    const { id, vocabSize } = agent.spec;
    if (tokenId >= 0 && tokenId < vocabSize) return tokenId;
    throw new EngineError(
      "bad-numbers",
      `agent '${id}' picked token ${tokenId}, its vocabulary has ids from 0 to ${vocabSize - 1}; ` +
        "load the system again, and update the browser or the graphics driver if that does not help",
    );
  }

  /** Answers a call to a tool at the end of a text. */
  async #call(agent: Performer, text: string): Promise<ToolCall | undefined> {
    const { search } = this.options;
    const { maxToolCalls: most } = this.plan.settings.decoding;
    const reach = { search, fetch: this.stage.fetch, signal: this.signal, most, made: this.#calls };
    const call = await callTool(text, agent.spec.tools, reach);
    throwIfCancelled(this.signal);
    if (call) this.#calls += 1;
    return call;
  }

  /** Positions that this turn has read so far, those that were kept among them. */
  #positions(agent: Performer): number {
    return this.#earlier + agent.position;
  }

  /** The turn's prompt as tokens and rows. A slot in which nothing arrived is empty. */
  #parts(agent: Performer, round: number): readonly Part[] {
    return this.prompts(agent.spec.id, round).flatMap((segment): Part[] => {
      if (segment.kind === "text") return [{ kind: "tokens", ids: agent.tokenizer.encode(segment.text) }];
      const carried = this.#carried.get(segment.edge);
      if (!carried) return [];
      if ("text" in carried) return [{ kind: "tokens", ids: agent.tokenizer.encode(carried.text) }];
      if ("states" in carried) return [{ kind: "states", states: carried.states }];
      const states = agent.uploadStates(new Float32Array(carried.rows.data));
      this.#uploaded.push(states);
      return [{ kind: "states", states }];
    });
  }

  /** Runs a turn's body between its events, and measures it. */
  async #turn(
    agent: Performer,
    planned: PlannedTurn,
    parts: readonly Part[],
    body: (room: Room, rest: readonly Part[]) => Promise<TurnOutcome>,
  ): Promise<void> {
    const { round, latentSteps } = planned;
    const spent = this.#clock();
    const before = this.#tracing.length;
    const count = (kind: Part["kind"]): number =>
      parts.reduce((sum, part) => sum + (part.kind === kind ? rowsOf(part) : 0), 0);
    const promptTokens = count("tokens");
    this.emit({ kind: "turn-start", round, agent: agent.spec.id, promptTokens, latentRows: count("states") });
    this.#earlier = 0;
    const { rest, keptPositions } = this.#begin(agent, planned, parts);
    const rooms: Rows[] = [];
    const room: Room = (rows) => {
      const made = agent.createThoughts(rows);
      rooms.push(made);
      return made;
    };
    try {
      const { sent = [], ...outcome } = await body(room, rest);
      const turn = {
        round,
        agent: agent.spec.id,
        promptTokens,
        latentSteps,
        forwardPositions: this.#positions(agent),
        ...(keptPositions > 0 && { keptPositions }),
        ...outcome,
        ...this.#withoutTracing(spent(), before),
      };
      const tracing = this.#clock();
      const [thoughts] = rooms;
      const summary: TurnSummary = { ...turn, ...(thoughts && (await this.#look(agent, thoughts))) };
      for (const each of sent) await this.#report(planned, each);
      this.#tracing.push(tracing());
      this.#turns.push(summary);
      this.emit({ kind: "turn-end", ...summary });
    } finally {
      for (const each of [...rooms, ...this.#uploaded.splice(0)]) each.free();
    }
  }

  /**
   * Begins a turn with what its agent still has of the prompt (rule 3).
   *
   * @returns the rest of the prompt, and how many positions the agent has from an earlier turn of this run.
   */
  #begin(
    agent: Performer,
    turn: PlannedTurn,
    parts: readonly Part[],
  ): { readonly rest: readonly Part[]; readonly keptPositions: number } {
    const { turns } = this.plan;
    const isFirst = turns.find((each) => each.agent === turn.agent)?.round === turn.round;
    const { prefix, prompt, added } = this.#known(agent);
    const positions = parts.reduce((sum, part) => sum + rowsOf(part), 0);
    const [first] = parts;
    const leading = first?.kind === "tokens" ? first.ids : [];
    const marks = marksOf(prefix, positions, !isFirst || agent.keepsMarksOnly);
    const kept = agent.begin(leading, marks, Math.max(prompt, positions) + added);
    // What an earlier question left is not counted, so that a run counts the same whatever came before it.
    return { rest: splitLeading(parts, kept)[1], keptPositions: isFirst ? 0 : kept };
  }

  /** What does not change from turn to turn. */
  #known(agent: Performer): Known {
    const { id } = agent.spec;
    const known = this.#agents.get(id);
    if (known) return known;
    const encode = (text: string): number[] => agent.tokenizer.encode(text);
    const leading = (prompts: Prompts, round: number): readonly number[] =>
      leadingTokens(prompts(id, round), encode);
    const prefix = prefixOf(leading(this.prompts, 0), leading(this.prompts, 1), leading(this.blank, 0));
    const prompts = [0, 1].map((round) =>
      this.prompts(id, round).reduce(
        (sum, each) => sum + (each.kind === "text" ? encode(each.text).length : this.#rows(each.edge)),
        0,
      ),
    );
    const made = { prefix, prompt: Math.max(...prompts), added: this.#added(agent) };
    this.#agents.set(id, made);
    return made;
  }

  /** How long a hand-off may be; text may turn out longer. */
  #rows(edge: string): number {
    const from = this.plan.edges.find(({ id }) => id === edge)?.from;
    const turns = this.plan.turns.filter(({ agent }) => agent === from);
    return Math.max(0, ...turns.map(({ latentSteps, textTokens }) => latentSteps + textTokens));
  }

  /** The most positions that a turn of an agent adds to its prompt. */
  #added({ spec, tokenizer, contextWindowSize }: Performer): number {
    const turns = this.plan.turns.filter(({ agent }) => agent === spec.id);
    const { answerPrefix, maxNewTokens } = this.plan.settings.decoding;
    // What a tool gives can be of any length.
    const calls = spec.tools.length > 0 || this.options.search !== undefined;
    const added = turns.map(({ latentSteps, textTokens, answers }) => {
      if (answers && calls) return contextWindowSize;
      const answer = answers ? tokenizer.encode(answerPrefix).length + maxNewTokens : 0;
      return latentSteps + textTokens + answer;
    });
    return Math.max(...added);
  }

  /** Takes off what reading back for the trace has taken since so many readings were done. */
  #withoutTracing(spent: Spent, since = 0): Spent {
    return this.#tracing
      .slice(since)
      .reduce(
        (rest, each) => ({ ms: rest.ms - each.ms, counters: added(rest.counters, each.counters) }),
        spent,
      );
  }

  /** @returns a function that gives the time and the counts from now until it is called. */
  #clock(): () => Spent {
    const { now, counters } = this.stage;
    const started = now();
    const before = counters.snapshot();
    return () => ({ ms: now() - started, counters: counters.since(before) });
  }

  /** Reads back what the trace asks for, after the turn's work. */
  async #look(agent: Performer, thoughts: Rows): Promise<Pick<TurnSummary, "thoughts" | "lens">> {
    const { trace = {} } = this.options;
    const matrix: { thoughts?: Matrix } = trace.thoughts ? { thoughts: await thoughts.read() } : {};
    if (!trace.lensTopK) return matrix;
    return { ...matrix, lens: await agent.lens(thoughts, trace.lensTopK) };
  }

  async #pause(): Promise<void> {
    await this.stage.tick();
    throwIfCancelled(this.signal);
  }

  #hiddenSize(id: string): number {
    return this.stage.system.agents.find((agent) => agent.id === id)?.hiddenSize ?? 0;
  }

  /** Keeps a hand-off for its reader, and drops the one of the round before. */
  #carry(edge: PlannedEdge, carried: Waiting): void {
    this.#drop(edge.id);
    this.#carried.set(edge.id, carried);
  }

  /** Sends the hand-offs of the present turn on their way. */
  #carryAll(): readonly Sent[] {
    const sent = this.#unread;
    this.#unread = [];
    for (const { edge, states, matrix } of sent) {
      if (states) this.#carry(edge, { states });
      else if (matrix) this.#carry(edge, { rows: matrix });
    }
    return sent;
  }

  #drop(edge: string): void {
    const carried = this.#carried.get(edge);
    if (carried && "states" in carried) carried.states.free();
    this.#carried.delete(edge);
  }
}

/** A hand-off that was sent, for the report. */
interface Sent {
  readonly edge: PlannedEdge;
  readonly rows: number;
  readonly states?: Rows;
  /** The rows, if they are on the CPU. */
  readonly matrix?: Matrix;
  readonly text?: string;
  /** To the hand-off of the round before, if early stopping compared them. */
  readonly similarity?: number;
}

function rowsOf(part: Part): number {
  return part.kind === "tokens" ? part.ids.length : part.states.rows;
}
