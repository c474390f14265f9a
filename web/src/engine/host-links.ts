/**
 * For comparison only: links in JavaScript, with the hidden state read back at every latent step.
 *
 * This is how the recursiveMASWebLLM playground works, and what `make bench` sets against the compiled links. The page
 * never takes this path; it is a chunk of its own that is loaded when a run asks for it.
 */
import type { Agent, Part, Picking } from "./agent";
import { EngineError } from "./errors";
import type { HostTensor, Link, Links, Variant } from "./links";
import type { Performer } from "./recursion";
import type { States } from "./states";
import type { AgentSpec } from "./system";
import type { Tokenizer } from "./tokenizer";
import type { TokenProbability } from "./types";

const LAYER_NORM_EPS = 1e-5;

/** Agents whose links run in JavaScript. */
export function hostLinked(agents: ReadonlyMap<string, Agent>, links: Links): ReadonlyMap<string, Performer> {
  const linked = new Map<string, HostLinkedAgent>();
  const receiver = (size: number): Agent => {
    const found = [...agents.values()].find((agent) => agent.spec.hiddenSize === size);
    if (!found) throw new EngineError("internal", `no agent has hidden size ${size}`);
    return found;
  };
  for (const [id, agent] of agents) linked.set(id, new HostLinkedAgent(agent, links, receiver));
  return linked;
}

class HostLinkedAgent implements Performer {
  readonly spec: AgentSpec;
  readonly tokenizer: Tokenizer;

  constructor(
    private readonly agent: Agent,
    private readonly links: Links,
    private readonly receiver: (hiddenSize: number) => Agent,
  ) {
    this.spec = agent.spec;
    this.tokenizer = agent.tokenizer;
  }

  get contextWindowSize(): number {
    return this.agent.contextWindowSize;
  }

  get position(): number {
    return this.agent.position;
  }

  /** Reads the hidden state back, runs R_in here, and feeds the result. */
  async think(): Promise<void> {
    const hidden = await this.agent.readHidden();
    const states = this.agent.uploadStates(this.#inner(hidden));
    try {
      this.agent.feed([{ kind: "states", states }], "hidden");
    } finally {
      states.free();
    }
  }

  async innerLink(thoughts: States): Promise<States> {
    const { rows, columns, data } = await thoughts.read();
    const mapped = new Float32Array(data.length);
    for (let row = 0; row < rows; row++) {
      mapped.set(this.#inner(data.slice(row * columns, (row + 1) * columns)), row * columns);
    }
    return this.agent.uploadStates(mapped);
  }

  async outerLink(edge: string, states: States, targetSize: number): Promise<States> {
    const link = this.links.outer.get(edge);
    if (!link) throw new EngineError("internal", `there is no outer link '${edge}'`);
    const { rows, columns, data } = await states.read();
    const mapped = new Float32Array(rows * targetSize);
    for (let row = 0; row < rows; row++) {
      const source = data.subarray(row * columns, (row + 1) * columns);
      mapped.set(applyOuter(link, this.links.variant, source), row * targetSize);
    }
    return this.receiver(targetSize).uploadStates(mapped);
  }

  begin(): void {
    this.agent.begin();
  }

  feed(parts: readonly Part[], want: "hidden" | "logits"): void {
    this.agent.feed(parts, want);
  }

  createThoughts(rows: number): States {
    return this.agent.createThoughts(rows);
  }

  recordThought(thoughts: States, row: number): void {
    this.agent.recordThought(thoughts, row);
  }

  logits(): void {
    this.agent.logits();
  }

  pick(picking: Picking): Promise<number> {
    return this.agent.pick(picking);
  }

  decode(id: number): void {
    this.agent.decode(id);
  }

  lens(states: States, k: number): Promise<TokenProbability[][]> {
    return this.agent.lens(states, k);
  }

  uploadStates(values: Float32Array<ArrayBuffer>): States {
    return this.agent.uploadStates(values);
  }

  sync(): Promise<void> {
    return this.agent.sync();
  }

  #inner(hidden: Float32Array): Float32Array<ArrayBuffer> {
    const link = this.links.inner.get(this.spec.id);
    if (!link) throw new EngineError("internal", `there is no inner link '${this.spec.id}'`);
    return applyInner(link, this.links.variant, hidden);
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
