/**
 * An agent on the processor: the second implementation of `Performer`.
 *
 * Everything is computed at once, in the thread that asks, so nothing ever waits. Rows are float32 arrays.
 */
import { EngineError } from "../errors";
import { topProbabilities } from "../lens";
import type { Link, Variant } from "../links";
import { type Part, type Performer, type Picking, type Rows, windowError } from "../performer";
import { commonLength } from "../prefix";
import { pickLikeliest } from "../sample";
import type { AgentSpec } from "../system";
import type { Tokenizer } from "../tokenizer";
import type { Matrix, TokenProbability } from "../types";
import { type Decoder, Sequence, softmax } from "./decoder";
import { applyInner, applyOuter } from "./links";

/** An agent's own links. */
export interface OwnLinks {
  readonly variant: Variant;
  readonly inner: Link;
  /** By the id of each outgoing edge. */
  readonly outer: ReadonlyMap<string, Link>;
}

/** Rows on the processor. */
class HostRows implements Rows {
  constructor(
    readonly data: Float32Array<ArrayBuffer>,
    readonly rows: number,
    readonly columns: number,
  ) {}

  /** One of the rows; writing to it changes the matrix. */
  row(index: number): Float32Array<ArrayBuffer> {
    return this.data.subarray(index * this.columns, (index + 1) * this.columns);
  }

  async read(): Promise<Matrix> {
    return { rows: this.rows, columns: this.columns, data: this.data.slice() };
  }

  free(): void {}
}

export class ProcessorAgent implements Performer {
  readonly keepsMarksOnly = false;
  readonly #sequence: Sequence;
  /** The tokens of the sequence's first positions, as far as they are tokens of a prompt. */
  #leading: number[] = [];
  /** Whether only such tokens were fed so far. */
  #leads = false;
  #hidden: Float32Array<ArrayBuffer> | undefined;

  /** @param count - called with the number of positions that were computed. */
  constructor(
    readonly spec: AgentSpec,
    readonly tokenizer: Tokenizer,
    private readonly decoder: Decoder,
    private readonly links: OwnLinks,
    private readonly count: (positions: number) => void,
  ) {
    this.#sequence = new Sequence(decoder.config.num_hidden_layers);
  }

  get contextWindowSize(): number {
    return this.spec.contextWindowSize;
  }

  get position(): number {
    return this.#sequence.length;
  }

  begin(leading: readonly number[] = [], marks: readonly number[] = []): number {
    const same = commonLength(this.#leading, leading);
    const kept = marks.findLast((mark) => mark <= same) ?? 0;
    this.#sequence.cut(kept);
    this.#leading = leading.slice(0, kept);
    this.#leads = true;
    this.#hidden = undefined;
    return kept;
  }

  forget(): void {
    this.#leading = [];
  }

  feed(parts: readonly Part[]): void {
    const total = parts.reduce(
      (sum, part) => sum + (part.kind === "tokens" ? part.ids.length : part.states.rows),
      0,
    );
    if (total === 0) throw new EngineError("bad-prompt", `agent '${this.spec.id}': its prompt is empty`);
    this.#reserve(total);
    for (const part of parts) {
      if (part.kind === "tokens") {
        if (this.#leads) this.#leading.push(...part.ids);
        for (const id of part.ids) this.#extend(this.decoder.embed(id));
      } else {
        this.#leads = false;
        const rows = onHost(part.states);
        for (let row = 0; row < rows.rows; row++) this.#extend(rows.row(row));
      }
    }
  }

  think(): void {
    this.#reserve(1);
    this.#leads = false;
    this.#extend(applyInner(this.links.inner, this.links.variant, this.#last));
  }

  createThoughts(rows: number): Rows {
    return this.#rows(rows, this.spec.hiddenSize);
  }

  recordThought(thoughts: Rows, row: number): void {
    onHost(thoughts).row(row).set(this.#last);
  }

  innerLink(thoughts: Rows): Rows {
    this.#look(onHost(thoughts).data, "its latent thoughts are");
    const { inner, variant } = this.links;
    return this.#map(thoughts, this.spec.hiddenSize, (row) => applyInner(inner, variant, row));
  }

  outerLink(edge: string, states: Rows, targetSize: number): Rows {
    const link = this.links.outer.get(edge);
    if (!link)
      throw new EngineError("internal", `agent '${this.spec.id}' has no outer link for edge '${edge}'`);
    const mapped = this.#map(states, targetSize, (row) => applyOuter(link, this.links.variant, row));
    this.#look(mapped.data, `what its links hand over on '${edge}' is`);
    return mapped;
  }

  /** Nothing to do: `pick` runs the LM head. */
  logits(): void {}

  async pick({ temperature, topK, topP, repetitionPenalty, written, uniform }: Picking): Promise<number> {
    const logits = this.decoder.logits(this.#last);
    this.#look(logits, "its logits are");
    for (const id of new Set(written)) {
      const value = logits[id] ?? 0;
      logits[id] = value > 0 ? value / repetitionPenalty : value * repetitionPenalty;
    }
    const likelier = (best: number, value: number, id: number): number =>
      value > (logits[best] as number) ? id : best;
    if (temperature === 0) return logits.reduce(likelier, 0);
    const probabilities = softmax(Array.from(logits, (value) => value / temperature));
    const order = probabilities.map((_, id) => id);
    // The sort is stable: of tokens that are as likely, the first one comes first.
    order.sort((a, b) => (probabilities[b] as number) - (probabilities[a] as number));
    const sorted = order.map((id) => probabilities[id] as number);
    const most = topK === 0 ? sorted.length : Math.min(topK, sorted.length);
    return order[pickLikeliest(sorted, most, topP, uniform)] ?? 0;
  }

  decode(id: number): void {
    this.#reserve(1);
    this.#leads = false;
    this.#extend(this.decoder.embed(id));
  }

  async lens(states: Rows, k: number): Promise<TokenProbability[][]> {
    const { vocabSize } = this.spec;
    const { data, rows, columns } = this.#map(states, vocabSize, (row) => this.decoder.logits(row));
    return topProbabilities({ rows, columns, data }, k, this.tokenizer);
  }

  async sync(): Promise<void> {}

  uploadStates(values: Float32Array<ArrayBuffer>): Rows {
    const { hiddenSize } = this.spec;
    return new HostRows(values, values.length / hiddenSize, hiddenSize);
  }

  get #last(): Float32Array<ArrayBuffer> {
    if (!this.#hidden) throw new EngineError("internal", `agent '${this.spec.id}' has no hidden state yet`);
    return this.#hidden;
  }

  #extend(embedding: Float32Array): void {
    this.#hidden = this.decoder.extend(this.#sequence, embedding);
    this.count(1);
  }

  #rows(rows: number, columns: number): HostRows {
    return new HostRows(new Float32Array(rows * columns), rows, columns);
  }

  #map(states: Rows, columns: number, work: (row: Float32Array) => Float32Array): HostRows {
    const source = onHost(states);
    const mapped = this.#rows(source.rows, columns);
    for (let row = 0; row < source.rows; row++) mapped.row(row).set(work(source.row(row)));
    return mapped;
  }

  /** @throws EngineError `bad-numbers` for NaN or infinity. */
  #look(values: Float32Array, what: string): void {
    if (values.every(Number.isFinite)) return;
    throw new EngineError(
      "bad-numbers",
      `agent '${this.spec.id}': ${what} not finite (NaN or infinity); its weights or links are broken: check the ` +
        "checkpoint and build the system again",
    );
  }

  #reserve(positions: number): void {
    const needed = this.position + positions;
    if (needed > this.contextWindowSize) throw windowError(this.spec.id, needed, this.contextWindowSize);
  }
}

function onHost(rows: Rows): HostRows {
  if (rows instanceof HostRows) return rows;
  throw new EngineError("internal", "rows of another runtime were not brought to the processor");
}
