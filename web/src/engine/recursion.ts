/**
 * The recursion: any graph of agents, any number of rounds and latent steps, in four modes.
 *
 * Source: docs/recursion.md; training/recursivemas/training/recursion.py is the reference, and the browser tests compare
 * every hand-off with it. This file knows the order of things; what runs on the GPU is `agent.ts`.
 */
import type { Agent, Part } from "./agent";
import { added } from "./counters";
import type { Fetch } from "./download";
import { throwIfCancelled } from "./errors";
import { type Plan, planRun } from "./plan";
import { UniformSource } from "./random";
import { searchFor } from "./search";
import type { States } from "./states";
import type { EdgeSpec, System } from "./system";
import { StreamDecoder } from "./tokenizer";
import { calculate, findCall } from "./tools";
import type {
  Counters,
  HandoffSummary,
  Matrix,
  RunEvent,
  RunOptions,
  RunResult,
  StopReason,
  ToolCall,
  TurnSummary,
} from "./types";

/** What the recursion asks of an agent. Where links run in JavaScript (`host-links.ts`), using one takes time. */
export interface Performer
  extends Pick<
    Agent,
    | "spec"
    | "tokenizer"
    | "contextWindowSize"
    | "position"
    | "begin"
    | "feed"
    | "createThoughts"
    | "recordThought"
    | "logits"
    | "pick"
    | "decode"
    | "lens"
    | "sync"
    | "uploadStates"
  > {
  think(): void | Promise<void>;
  innerLink(thoughts: States): States | Promise<States>;
  outerLink(edge: string, states: States, targetSize: number): States | Promise<States>;
}

/** Where a run takes place. */
export interface Stage {
  readonly system: System;
  /** By id. */
  readonly agents: ReadonlyMap<string, Performer>;
  /** The GPU's counts now, and since an earlier moment. */
  readonly counters: { snapshot(): Counters; since(earlier: Counters): Counters };
  /** Lets messages in, such as a cancellation. */
  readonly tick: () => Promise<void>;
  readonly now: () => number;
  /** For the search tool alone. */
  readonly fetch: Fetch;
}

/** A hand-off that waits for its reader. */
type Carried = { readonly states: States } | { readonly text: string };

/** Text that a turn decoded, and why it ended. */
interface Decoded {
  readonly text: string;
  /** What was sampled and what tools gave. */
  readonly ids: readonly number[];
  readonly sampled: number;
  readonly reason: StopReason;
  /** The last tokens, when they were not fed back yet. */
  readonly unfed: readonly number[];
}

/** What a turn did, before the clock and the counters are read. */
interface TurnOutcome extends Pick<TurnSummary, "latentSteps" | "decodedTokens" | "text"> {
  readonly sent?: readonly Sent[];
}

/** Room for the turn's latent thoughts; it is freed when the turn is over. */
type Room = (rows: number) => States;

/** Time, and what was asked of the GPU in it. */
type Spent = Pick<TurnSummary, "ms" | "counters">;

/**
 * Answers one question.
 *
 * @throws EngineError; all GPU memory of the run is free then, too.
 */
export async function runSystem(
  stage: Stage,
  options: RunOptions,
  hooks: { readonly signal?: AbortSignal | undefined; readonly onEvent?: (event: RunEvent) => void } = {},
): Promise<RunResult> {
  const run = new Run(stage, planRun(stage.system, options), hooks.signal, hooks.onEvent ?? (() => {}));
  try {
    return await run.perform();
  } finally {
    run.free();
  }
}

class Run {
  readonly #turns: TurnSummary[] = [];
  readonly #handoffs: HandoffSummary[] = [];
  /** By edge id. A feedback edge's hand-off stays here until its reader's turn in the next round. */
  readonly #carried = new Map<string, Carried>();
  readonly #uniform: UniformSource;
  /** What the trace took so far: no part of what the run itself takes. */
  readonly #tracing: Spent[] = [];

  constructor(
    private readonly stage: Stage,
    private readonly plan: Plan,
    private readonly signal: AbortSignal | undefined,
    private readonly emit: (event: RunEvent) => void,
  ) {
    this.#uniform = new UniformSource(plan.decoding.seed);
  }

  async perform(): Promise<RunResult> {
    const { plan } = this;
    const spent = this.#clock();
    const alone = plan.mode === "single" || plan.mode === "loop";
    const answer = alone ? await this.#deciderAlone() : await this.#rounds();
    const sum = (key: "decodedTokens" | "latentSteps"): number =>
      this.#turns.reduce((total, turn) => total + turn[key], 0);
    return {
      answer: answer.text,
      stopReason: answer.reason,
      mode: plan.mode,
      rounds: alone ? 1 : plan.rounds,
      latentSteps: plan.latentSteps,
      decodedTokens: sum("decodedTokens"),
      answerTokenIds: answer.ids,
      totalLatentSteps: sum("latentSteps"),
      ...this.#tracing.reduce(
        (rest, each) => ({ ms: rest.ms - each.ms, counters: added(rest.counters, each.counters) }),
        spent(),
      ),
      turns: this.#turns,
      handoffs: this.#handoffs,
    };
  }

  /** Frees the hand-offs that nobody read. */
  free(): void {
    for (const edge of [...this.#carried.keys()]) this.#drop(edge);
  }

  /** Latent and text mode: every agent, every round; the last one of the last round answers. */
  async #rounds(): Promise<Decoded> {
    const { agents, rounds, mode, decoding, latentSteps } = this.plan;
    let answer: Decoded | undefined;
    for (let round = 0; round < rounds; round++) {
      for (const [index, spec] of agents.entries()) {
        const agent = this.#agent(spec.id);
        const parts = this.#parts(agent, round);
        if (round === rounds - 1 && index === agents.length - 1) {
          const thoughts = decoding.thinkBeforeAnswer ? latentSteps : 0;
          answer = await this.#answerTurn(agent, round, parts, thoughts);
        } else if (mode === "latent") {
          await this.#latentTurn(agent, round, parts);
        } else {
          await this.#textTurn(agent, round, parts);
        }
      }
    }
    return answer as Decoded;
  }

  /** Single and loop mode (docs/recursion.md, rule 7). */
  async #deciderAlone(): Promise<Decoded> {
    const { agents, mode, rounds, latentSteps } = this.plan;
    const agent = this.#agent(agents.at(-1)?.id ?? "");
    const thoughts = mode === "loop" ? rounds * latentSteps * agents.length : 0;
    return await this.#answerTurn(agent, 0, this.#parts(agent, 0), thoughts);
  }

  /** A turn that ends in latent thoughts and their hand-offs. */
  async #latentTurn(agent: Performer, round: number, parts: readonly Part[]): Promise<void> {
    await this.#turn(agent, round, parts, async (room) => {
      const thoughts = room(this.plan.latentSteps);
      agent.feed(parts, "hidden");
      await this.#rollOut(agent, round, thoughts);
      const sent = await this.#handOff(agent, round, thoughts);
      // The one synchronisation of the turn: it keeps the CPU from running rounds ahead of the GPU, so that a turn's
      // time is true and cancelling takes effect, and it is where the device says whether it refused anything.
      await agent.sync();
      return { latentSteps: thoughts.rows, decodedTokens: 0, text: "", sent };
    });
  }

  /** A turn of text mode: it writes, and what it wrote fills its outgoing slots. */
  async #textTurn(agent: Performer, round: number, parts: readonly Part[]): Promise<void> {
    await this.#turn(agent, round, parts, async () => {
      agent.feed(parts, "logits");
      const { text, sampled } = await this.#decode(agent, round, this.#textTokens, false);
      const sent = this.#readEdges(agent, round).map((edge) => ({ edge, round, rows: 0, text }));
      for (const { edge } of sent) {
        this.#drop(edge.id);
        this.#carried.set(edge.id, { text });
      }
      return { latentSteps: 0, decodedTokens: sampled, text, sent };
    });
  }

  /** The deciding agent's last turn: `thoughts` latent steps (in text mode: written ones), the prefix, the answer. */
  async #answerTurn(
    agent: Performer,
    round: number,
    parts: readonly Part[],
    thoughts: number,
  ): Promise<Decoded> {
    let answer: Decoded | undefined;
    await this.#turn(agent, round, parts, async (room) => {
      const prefix = agent.tokenizer.encode(this.plan.decoding.answerPrefix);
      let written = 0;
      if (thoughts === 0) {
        agent.feed([...parts, { kind: "tokens", ids: prefix }], "logits");
      } else if (this.plan.mode === "text") {
        agent.feed(parts, "logits");
        const before = await this.#decode(agent, round, this.#textTokens, false);
        written = before.sampled;
        this.#feedTokens(agent, [...before.unfed, ...prefix]);
      } else {
        agent.feed(parts, "hidden");
        await this.#rollOut(agent, round, room(thoughts));
        // R_in of the last thought goes into the context too; the answer's prefix follows it.
        await agent.think();
        this.#feedTokens(agent, prefix);
      }
      agent.logits();
      answer = await this.#decode(agent, round, this.plan.decoding.maxNewTokens, true);
      return {
        latentSteps: this.plan.mode === "text" ? 0 : thoughts,
        decodedTokens: written + answer.sampled,
        text: answer.text,
      };
    });
    return answer as Decoded;
  }

  #feedTokens(agent: Performer, ids: readonly number[]): void {
    if (ids.length > 0) agent.feed([{ kind: "tokens", ids }], "logits");
  }

  /** h_1 … h_M; h_1 is there when it begins. Nothing waits for the GPU; cancelling is possible between steps. */
  async #rollOut(agent: Performer, round: number, thoughts: States): Promise<void> {
    const of = thoughts.rows;
    for (let step = 0; step < of; step++) {
      const spent = this.#clock();
      if (step > 0) await agent.think();
      agent.recordThought(thoughts, step);
      this.emit({ kind: "step", round, agent: agent.spec.id, step, of, ...spent() });
      await this.#pause();
    }
  }

  /** R_out(R_in(H)) for every outgoing edge that somebody will read; stays on the GPU. */
  async #handOff(agent: Performer, round: number, thoughts: States): Promise<Sent[]> {
    const edges = this.#readEdges(agent, round);
    if (edges.length === 0) return [];
    const sent: Sent[] = [];
    const mapped = await agent.innerLink(thoughts);
    try {
      for (const edge of edges) {
        const states =
          this.#replacement(edge, round, mapped.rows) ??
          (await agent.outerLink(edge.id, mapped, this.#agent(edge.to).spec.hiddenSize));
        this.#drop(edge.id);
        this.#carried.set(edge.id, { states });
        sent.push({ edge, round, rows: states.rows, states });
      }
      return sent;
    } finally {
      mapped.free();
    }
  }

  /** What an edge is to carry instead of its sender's thoughts, on the GPU; undefined: nothing. */
  #replacement(edge: EdgeSpec, round: number, rows: number): States | undefined {
    const replacement = this.plan.replace.get(edge.id);
    if (replacement === undefined) return undefined;
    const receiver = this.#agent(edge.to);
    if (replacement === "zeros")
      return receiver.uploadStates(new Float32Array(rows * receiver.spec.hiddenSize));
    const kept = replacement[Math.min(round, replacement.length - 1)];
    return kept && receiver.uploadStates(new Float32Array(kept.data));
  }

  /** Outgoing edges whose hand-off of this round is read: by an agent that is still to run. */
  #readEdges(agent: Performer, round: number): readonly EdgeSpec[] {
    const { edges, rounds } = this.plan;
    return edges.filter((edge) => edge.from === agent.spec.id && (!edge.feedback || round < rounds - 1));
  }

  async #report(sent: Sent): Promise<void> {
    const { edge, round, rows, text } = sent;
    const traced = this.plan.trace.handoffs && sent.states ? { states: await sent.states.read() } : {};
    const summary: HandoffSummary = {
      round,
      edge: edge.id,
      from: edge.from,
      to: edge.to,
      rows,
      ...(text === undefined ? {} : { text }),
      ...traced,
    };
    this.#handoffs.push(summary);
    this.emit({ kind: "handoff", ...summary });
  }

  /** Decodes until a stop token, `limit` sampled tokens or the end of the context; logits are there when it begins. */
  async #decode(agent: Performer, round: number, limit: number, answer: boolean): Promise<Decoded> {
    const stop = new Set(agent.spec.stopTokenIds);
    const stream = new StreamDecoder(agent.tokenizer);
    let sampled = 0;
    let unfed: readonly number[] = [];
    const finish = (reason: StopReason): Decoded => ({
      text: stream.text.trim(),
      ids: stream.ids,
      sampled,
      reason,
      unfed,
    });
    for (;;) {
      const picked = await this.#pick(agent, round, unfed, answer, stop, stream);
      unfed = picked;
      if (picked.length === 0) return finish("stop-token");
      sampled += 1;
      if (sampled >= limit) return finish("max-new-tokens");
      if (agent.position + unfed.length > agent.contextWindowSize) return finish("context-full");
      await this.#pause();
    }
  }

  /**
   * Feeds what was not fed yet, and samples a token.
   *
   * @returns the token, then what a tool gave if the token completes a call (rule 8); nothing for a stop token.
   */
  async #pick(
    agent: Performer,
    round: number,
    unfed: readonly number[],
    answer: boolean,
    stop: ReadonlySet<number>,
    stream: StreamDecoder,
  ): Promise<readonly number[]> {
    const { temperature, topP } = this.plan.decoding;
    const spent = this.#clock();
    const [single] = unfed;
    if (unfed.length > 1) this.#feedTokens(agent, unfed);
    else if (single !== undefined) agent.decode(single);
    const uniform = temperature > 0 ? this.#uniform.next() : 0;
    const tokenId = await agent.pick({ temperature, topP, uniform });
    if (stop.has(tokenId)) return [];
    const added = stream.push(tokenId);
    const tool = answer ? await this.#callTool(agent, stream.text.trim()) : undefined;
    const fed = tool ? agent.tokenizer.encode(tool.text) : [];
    const text = [added, ...fed.map((id) => stream.push(id))].join("");
    this.emit({
      kind: "token",
      round,
      agent: agent.spec.id,
      tokenId,
      text,
      answer,
      ...spent(),
      ...(tool ? { tool } : {}),
    });
    return [tokenId, ...fed];
  }

  /** The call that the answer ends with, answered (rule 8). */
  async #callTool(agent: Performer, text: string): Promise<ToolCall | undefined> {
    const { search } = this.plan;
    // Without consent a search is a text like any other, as in the reference.
    const tools = [...agent.spec.tools.filter((tool) => tool !== "search"), ...(search ? ["search"] : [])];
    const call = findCall(text, tools);
    if (!call) return undefined;
    const reach = { fetch: this.stage.fetch, signal: this.signal };
    const output =
      search && call.tool === "search" ? await searchFor(call.input, search, reach) : calculate(call.input);
    throwIfCancelled(this.signal);
    return { ...call, output, text: ` <result> ${output} </result>` };
  }

  /** The turn's prompt as tokens and rows; a slot that nothing arrived in is empty. Hand-offs read here are let go. */
  #parts(agent: Performer, round: number): readonly Part[] {
    return this.plan.prompt(agent.spec.id, round).flatMap((segment): Part[] => {
      if (segment.kind === "text") return [{ kind: "tokens", ids: agent.tokenizer.encode(segment.text) }];
      const carried = this.#carried.get(segment.edge);
      if (!carried) return [];
      if ("text" in carried) return [{ kind: "tokens", ids: agent.tokenizer.encode(carried.text) }];
      return [{ kind: "states", states: carried.states }];
    });
  }

  /** Runs a turn's body between its events, and measures it. */
  async #turn(
    agent: Performer,
    round: number,
    parts: readonly Part[],
    body: (room: Room) => Promise<TurnOutcome>,
  ): Promise<void> {
    await this.#pause();
    const spent = this.#clock();
    const count = (kind: Part["kind"]): number =>
      parts.reduce((sum, part) => sum + (part.kind === kind ? rowsOf(part) : 0), 0);
    const promptTokens = count("tokens");
    this.emit({ kind: "turn-start", round, agent: agent.spec.id, promptTokens, latentRows: count("states") });
    agent.begin();
    const rooms: States[] = [];
    const room: Room = (rows) => {
      const made = agent.createThoughts(rows);
      rooms.push(made);
      return made;
    };
    try {
      const { sent = [], ...outcome } = await body(room);
      const turn = { round, agent: agent.spec.id, promptTokens, ...outcome, ...spent() };
      const tracing = this.#clock();
      const [thoughts] = rooms;
      const summary: TurnSummary = { ...turn, ...(thoughts && (await this.#look(agent, thoughts))) };
      for (const each of sent) await this.#report(each);
      this.#tracing.push(tracing());
      this.#turns.push(summary);
      this.emit({ kind: "turn-end", ...summary });
    } finally {
      for (const each of rooms) each.free();
    }
  }

  /** @returns what time it took, and what was asked of the GPU, from now until it is called. */
  #clock(): () => Spent {
    const { now, counters } = this.stage;
    const started = now();
    const before = counters.snapshot();
    return () => ({ ms: now() - started, counters: counters.since(before) });
  }

  /** What the trace asks for, read back after the turn's work is done. */
  async #look(agent: Performer, thoughts: States): Promise<Pick<TurnSummary, "thoughts" | "lens">> {
    const { trace } = this.plan;
    const matrix: { thoughts?: Matrix } = trace.thoughts ? { thoughts: await thoughts.read() } : {};
    if (!trace.lensTopK) return matrix;
    return { ...matrix, lens: await agent.lens(thoughts, trace.lensTopK) };
  }

  async #pause(): Promise<void> {
    await this.stage.tick();
    throwIfCancelled(this.signal);
  }

  get #textTokens(): number {
    return this.plan.decoding.textTokens ?? this.plan.latentSteps;
  }

  #agent(id: string): Performer {
    const agent = this.stage.agents.get(id);
    if (!agent) throw new Error(`no agent '${id}'`);
    return agent;
  }

  #drop(edge: string): void {
    const carried = this.#carried.get(edge);
    if (carried && "states" in carried) carried.states.free();
    this.#carried.delete(edge);
  }
}

/** A hand-off that was sent, for the report. */
interface Sent {
  readonly edge: EdgeSpec;
  readonly round: number;
  readonly rows: number;
  readonly states?: States;
  readonly text?: string;
}

function rowsOf(part: Part): number {
  return part.kind === "tokens" ? part.ids.length : part.states.rows;
}
