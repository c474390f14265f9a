/**
 * Links in JavaScript, with the hidden state read back at every latent step.
 *
 * This is how the recursiveMASWebLLM playground works. `python -m bench browser` compares it with the compiled links,
 * and a browser test checks that both compute the same.
 */
import type { Agent, Part } from "../../src/engine/agent";
import { added } from "../../src/engine/counters";
import type { Engine } from "../../src/engine/engine";
import type { HostTensor, Link, Links, Variant } from "../../src/engine/links";
import { type PlannedTurn, planPrompts, planRun } from "../../src/engine/plan";
import type { States } from "../../src/engine/states";
import type { EdgeSpec } from "../../src/engine/system";
import { createTick } from "../../src/engine/tick";
import type { Counters, HandoffSummary, RunEvent, RunOptions, RunResult } from "../../src/engine/types";

const LAYER_NORM_EPS = 1e-5;

/** The part of a run's result that the benchmark and the test read. */
export interface HostRun extends Pick<RunResult, "answerTokenIds" | "handoffs" | "counters"> {
  readonly turns: readonly { readonly ms: number; readonly counters: Counters }[];
  readonly events: readonly RunEvent[];
}

/** Answers a question in latent mode, greedily. */
export async function runOnHostLinks(engine: Engine, links: Links, options: RunOptions): Promise<HostRun> {
  return await new HostLinkedRun(engine, links, options).perform();
}

class HostLinkedRun {
  readonly #plan;
  readonly #prompts;
  readonly #tick = createTick();
  /** Rows that wait for their reader, by edge id. */
  readonly #carried = new Map<string, States>();
  readonly #turns: { ms: number; counters: Counters }[] = [];
  readonly #handoffs: HandoffSummary[] = [];
  readonly #events: RunEvent[] = [];

  constructor(
    private readonly engine: Engine,
    private readonly links: Links,
    options: RunOptions,
  ) {
    this.#plan = planRun(engine.system, options);
    this.#prompts = planPrompts(engine.system, options);
  }

  async perform(): Promise<HostRun> {
    const spent = this.#clock();
    let answerTokenIds: readonly number[] = [];
    for (const turn of this.#plan.turns) {
      const spentHere = this.#clock();
      answerTokenIds = await this.#perform(turn, this.#agent(turn.agent));
      this.#turns.push(spentHere());
    }
    for (const states of this.#carried.values()) states.free();
    this.#tick.close();
    return {
      answerTokenIds,
      handoffs: this.#handoffs,
      counters: spent().counters,
      turns: this.#turns,
      events: this.#events,
    };
  }

  /** @returns the tokens of the answer; none if the turn does not answer. */
  async #perform(turn: PlannedTurn<EdgeSpec>, agent: Agent): Promise<readonly number[]> {
    agent.begin();
    this.#feedPrompt(turn, agent);
    const thoughts = await this.#rollOut(turn, agent);
    if (!turn.answers) {
      for (const edge of turn.sends) this.#handOff(turn.round, edge, thoughts);
      await agent.sync();
      return [];
    }
    const { answerPrefix, maxNewTokens } = this.#plan.settings.decoding;
    const last = thoughts.at(-1);
    if (last) feedRow(agent, this.#inner(agent, last));
    const ids = agent.tokenizer.encode(answerPrefix);
    if (ids.length > 0) agent.feed([{ kind: "tokens", ids }], "logits");
    agent.logits();
    return await decode(agent, maxNewTokens);
  }

  #feedPrompt({ round, agent: id }: PlannedTurn, agent: Agent): void {
    const parts = this.#prompts(id, round).flatMap((segment): Part[] => {
      if (segment.kind === "text") return [{ kind: "tokens", ids: agent.tokenizer.encode(segment.text) }];
      const states = this.#carried.get(segment.edge);
      return states ? [{ kind: "states", states }] : [];
    });
    agent.feed(parts, "hidden");
  }

  /** h_1 … h_M, each read back as soon as it is computed. */
  async #rollOut({ round, latentSteps }: PlannedTurn, agent: Agent): Promise<Float32Array[]> {
    const thoughts: Float32Array[] = [];
    for (let step = 0; step < latentSteps; step++) {
      const spent = this.#clock();
      const before = thoughts.at(-1);
      if (before) feedRow(agent, this.#inner(agent, before));
      thoughts.push(await readHidden(agent));
      this.#events.push({ kind: "step", round, agent: agent.spec.id, step, of: latentSteps, ...spent() });
      await this.#tick.wait();
    }
    return thoughts;
  }

  #handOff(round: number, edge: EdgeSpec, thoughts: readonly Float32Array[]): void {
    const link = found(this.links.outer, edge.id);
    const [sender, receiver] = [this.#agent(edge.from), this.#agent(edge.to)];
    const columns = receiver.spec.hiddenSize;
    const data = new Float32Array(thoughts.length * columns);
    for (const [row, thought] of thoughts.entries())
      data.set(applyOuter(link, this.links.variant, this.#inner(sender, thought)), row * columns);
    this.#carried.get(edge.id)?.free();
    this.#carried.set(edge.id, receiver.uploadStates(data));
    const { id, from, to } = edge;
    const states = { rows: thoughts.length, columns, data };
    this.#handoffs.push({ round, edge: id, from, to, rows: thoughts.length, states });
  }

  #inner(agent: Agent, hidden: Float32Array): Float32Array<ArrayBuffer> {
    return applyInner(found(this.links.inner, agent.spec.id), this.links.variant, hidden);
  }

  #agent(id: string): Agent {
    return found(this.engine.agents, id);
  }

  #clock(): () => { ms: number; counters: Counters } {
    const started = performance.now();
    const before = this.engine.counters();
    return () => ({ ms: performance.now() - started, counters: added(this.engine.counters(), before) });
  }
}

function found<T>(named: ReadonlyMap<string, T>, name: string): T {
  const value = named.get(name);
  if (value === undefined)
    throw new Error(`there is no '${name}'; there are ${[...named.keys()].join(", ")}`);
  return value;
}

async function readHidden(agent: Agent): Promise<Float32Array> {
  const row = agent.createThoughts(1);
  try {
    agent.recordThought(row, 0);
    return (await row.read()).data;
  } finally {
    row.free();
  }
}

function feedRow(agent: Agent, row: Float32Array<ArrayBuffer>): void {
  const states = agent.uploadStates(row);
  agent.feed([{ kind: "states", states }], "hidden");
  states.free();
}

async function decode(agent: Agent, limit: number): Promise<readonly number[]> {
  const ids: number[] = [];
  for (;;) {
    const id = await agent.pick({
      temperature: 0,
      topP: 1,
      topK: 0,
      repetitionPenalty: 1,
      written: ids,
      uniform: 0,
    });
    if (agent.spec.stopTokenIds.includes(id)) return ids;
    ids.push(id);
    if (ids.length === limit) return ids;
    agent.decode(id);
  }
}

/** R_in(h), one row. `paper`: h + W2·GELU(W1·h); `ln_res`: LN_post(h + W2·GELU(W1·LN_pre(h))). */
export function applyInner(link: Link, variant: Variant, hidden: Float32Array): Float32Array<ArrayBuffer> {
  if (variant === "paper") {
    const [w1, b1, w2, b2] = four(link.tensors);
    return add(hidden, linear(w2, b2, gelu(linear(w1, b1, hidden))));
  }
  const [preWeight, preBias, w1, b1] = four(link.tensors);
  const [w2, b2, postWeight, postBias] = four(link.tensors.slice(4));
  const inner = linear(w2, b2, gelu(linear(w1, b1, layerNorm(preWeight, preBias, hidden))));
  return layerNorm(postWeight, postBias, add(hidden, inner));
}

/** R_out(h), one row. `paper`: W3·h + W2·GELU(W1·h); `ln_res`: LN_target(W3·h + W2·GELU(W1·LN_source(h))). */
export function applyOuter(link: Link, variant: Variant, hidden: Float32Array): Float32Array<ArrayBuffer> {
  const normed = variant === "ln_res";
  const [w1, b1, w2, b2] = four(normed ? link.tensors.slice(2) : link.tensors);
  const [w3, b3, targetWeight, targetBias] = [...link.tensors.slice(normed ? 6 : 4)] as HostTensor[];
  const source = normed
    ? layerNorm(link.tensors[0] as HostTensor, link.tensors[1] as HostTensor, hidden)
    : hidden;
  const bottleneck = linear(w2, b2, gelu(linear(w1, b1, source)));
  const sum = add(linear(w3 as HostTensor, b3 as HostTensor, hidden), bottleneck);
  return normed ? layerNorm(targetWeight as HostTensor, targetBias as HostTensor, sum) : sum;
}

function four(tensors: readonly HostTensor[]): [HostTensor, HostTensor, HostTensor, HostTensor] {
  return tensors.slice(0, 4) as [HostTensor, HostTensor, HostTensor, HostTensor];
}

/** W·x + b, W (out, in) row-major. */
function linear(weight: HostTensor, bias: HostTensor, x: Float32Array): Float32Array<ArrayBuffer> {
  const out = Float32Array.from(bias.data);
  for (let row = 0; row < out.length; row++) {
    let sum = 0;
    const start = row * x.length;
    for (let i = 0; i < x.length; i++) sum += (weight.data[start + i] as number) * (x[i] as number);
    out[row] = (out[row] as number) + sum;
  }
  return out;
}

function add(a: Float32Array, b: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(a, (value, index) => value + (b[index] as number));
}

function layerNorm(weight: HostTensor, bias: HostTensor, x: Float32Array): Float32Array<ArrayBuffer> {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const scale = 1 / Math.sqrt(variance + LAYER_NORM_EPS);
  return Float32Array.from(
    x,
    (value, i) => (value - mean) * scale * (weight.data[i] as number) + (bias.data[i] as number),
  );
}

function gelu(x: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(x, (value) => 0.5 * value * (1 + erf(value / Math.SQRT2)));
}

/** Error function within 1.2e-7, by the Chebyshev fit of erfc in Numerical Recipes (erfcc). */
function erf(x: number): number {
  const t = 1 / (1 + 0.5 * Math.abs(x));
  const coefficients = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
    -0.82215223, 0.17087277,
  ];
  const polynomial = coefficients.reduceRight((sum, coefficient) => sum * t + coefficient, 0);
  const tail = t * Math.exp(-x * x + polynomial);
  return x >= 0 ? 1 - tail : tail - 1;
}
