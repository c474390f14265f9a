/**
 * One agent: a model on the GPU, the agent's links, and what it can do in a turn.
 *
 * A turn begins with `begin` and `feed`, which reads the prompt. Any number of `think` steps follow, and then hand-offs
 * (`innerLink`, `outerLink`) or decoding (`logits`, then `pick` and `decode` in turn). Only `pick`, `lens` and `sync`
 * wait for the GPU.
 *
 * Source: docs/abi.md, docs/recursion.md rules 3 and 5.
 */
import { EngineError } from "./errors";
import type { FiniteCheck } from "./finite";
import { floatToBytes } from "./half";
import { topProbabilities } from "./lens";
import type { Library } from "./library";
import type { Model } from "./model";
import { type Part, type Performer, type Picking, type Rows, splitLeading, windowError } from "./performer";
import { commonLength } from "./prefix";
import { type Compiled, DTYPE_BYTES, type Runtime, type Tensor, type TvmObject } from "./runtime";
import { MOST_TIES, pickLikeliest } from "./sample";
import { copyRows, planChunks, States } from "./states";
import type { AgentSpec } from "./system";
import type { Tokenizer } from "./tokenizer";
import type { TokenProbability } from "./types";

/** An agent's own links, packed for its library's functions. */
export interface AgentLinks {
  readonly inner: TvmObject;
  /** By the id of each outgoing edge. */
  readonly outer: ReadonlyMap<string, TvmObject>;
}

/** Rows of logits that the lens holds at once: 16 MB for a vocabulary of 256k. */
const LENS_ROWS = 16;

export class Agent implements Performer {
  private readonly runtime: Runtime;
  private readonly library: Library;
  #position = 0;
  /** The tokens of the sequence's first positions, as far as they are tokens of a prompt. */
  #leading: number[] = [];
  /** Whether only such tokens were fed so far. */
  #leads = false;
  /** Numbers of leading positions, ascending, up to which `feed` computes in calls of their own. */
  #marks: readonly number[] = [];
  /** A copy of the recurrent state after the last mark. A KV cache can be cut back, such a state cannot. */
  #snapshot: { readonly state: TvmObject; leading: readonly number[] } | undefined;
  /** The output of the last forward call: hidden (1, 1, D) or logits (1, 1, V). */
  #last: { kind: "hidden" | "logits"; tensor: Tensor } | undefined;

  constructor(
    readonly spec: AgentSpec,
    readonly tokenizer: Tokenizer,
    private readonly model: Model,
    private readonly links: AgentLinks,
    private readonly finite: FiniteCheck,
    /** Its sequence of the model's KV cache. */
    private readonly sequence: number,
  ) {
    this.runtime = model.runtime;
    this.library = model.library;
  }

  /** How many positions the context window holds. */
  get contextWindowSize(): number {
    return this.library.contextWindowSize;
  }

  /** How many positions its context has: those that were kept, and those that this turn has fed so far. */
  get position(): number {
    return this.#position;
  }

  /** Whether it can keep positions up to a mark alone. */
  get keepsMarksOnly(): boolean {
    return this.model.recurrentState !== undefined;
  }

  /**
   * Starts a turn. The agent keeps the positions before one of the marks, if its last turns computed the same tokens.
   *
   * @param leading - tokens that the prompt begins with.
   * @param marks - numbers of leading positions, ascending, that may be kept now or for later turns.
   * @param room - positions that the turn may need; as many as the context window holds by default.
   * @returns how many leading positions are kept. `feed` takes the rest of the prompt.
   */
  begin(
    leading: readonly number[] = [],
    marks: readonly number[] = [],
    room = this.contextWindowSize,
  ): number {
    const { kvCache, recurrentState } = this.model;
    kvCache.reserve(room);
    const same = Math.min(commonLength(this.#leading, leading), kvCache.length(this.sequence));
    const kept = marks.findLast((mark) => mark <= same && this.#hasStateAfter(leading.slice(0, mark))) ?? 0;
    this.#forget();
    kvCache.begin(this.sequence, kept, marks.at(-1) ?? 0);
    const { recurrent } = this.library;
    if (recurrentState) {
      this.runtime.scoped(() => {
        if (kept > 0) recurrent?.copy(this.#snapshot?.state ?? null, recurrentState);
        else recurrent?.clear(recurrentState);
      });
    }
    this.#position = kept;
    this.#leading = leading.slice(0, kept);
    this.#leads = true;
    this.#marks = marks.filter((mark) => mark > kept);
    return kept;
  }

  /** Keeps nothing for the next turn, because what was computed may be wrong. */
  forget(): void {
    this.#leading = [];
    if (this.#snapshot) this.#snapshot.leading = [];
  }

  /**
   * Feeds tokens and rows, in chunks of the library's prefill size.
   *
   * @param want - `hidden` before a latent step or a hand-off, `logits` before a token is picked.
   * @throws EngineError `context-overflow`.
   */
  feed(parts: readonly Part[], want: "hidden" | "logits"): void {
    let rest = parts;
    for (const mark of this.#marks) {
      const [before, after] = splitLeading(rest, mark - this.#position);
      if (before.length === 0 || after.length === 0) break;
      this.#feed(before, "hidden");
      if (mark === this.#marks.at(-1)) this.#takeSnapshot();
      rest = after;
    }
    this.#marks = [];
    this.#feed(rest, want);
  }

  #feed(parts: readonly Part[], want: "hidden" | "logits"): void {
    const { hiddenSize } = this.spec;
    for (const part of parts) {
      if (part.kind === "states") this.#leads = false;
      else if (this.#leads) this.#leading.push(...part.ids);
    }
    const own: States[] = [];
    try {
      const pieces = parts.flatMap((part) => {
        if (part.kind === "states") return [onGpu(part.states)];
        const embedded = this.#embed(part.ids);
        own.push(...embedded);
        return embedded;
      });
      const chunks = planChunks(pieces, this.library.prefillChunkSize);
      if (chunks.length === 0)
        throw new EngineError("bad-prompt", `agent '${this.spec.id}': its prompt is empty`);
      this.#reserve(chunks.reduce((sum, chunk) => sum + chunk.rows, 0));
      chunks.forEach((chunk, index) => {
        const wanted = index === chunks.length - 1 ? want : "hidden";
        this.runtime.scoped(() => {
          const input = this.runtime.empty([1, chunk.rows, hiddenSize], this.spec.dtype);
          this.runtime.flush();
          copyRows(this.model.device, chunk.copies, this.runtime.buffer(input), hiddenSize * this.#itemBytes);
          const call = wanted === "hidden" ? this.library.latentPrefill : this.library.prefill;
          this.#forward(call, chunk.rows, wanted, input, []);
        });
      });
    } finally {
      for (const states of own) states.free();
    }
  }

  /** Takes one latent step: runs the agent on R_in of its last hidden state. Nothing is read back and nothing waits. */
  think(): void {
    const hidden = this.#expect("hidden");
    this.#reserve(1);
    this.#leads = false;
    this.runtime.scoped(() =>
      this.#forward(this.library.latentStep, 1, "hidden", hidden, [this.links.inner]),
    );
  }

  /** Allocates room for M latent thoughts, (M, D). */
  createThoughts(rows: number): States {
    const { hiddenSize, dtype } = this.spec;
    const tensor = this.runtime.scoped(() =>
      this.runtime.keep(this.runtime.empty([rows, hiddenSize], dtype)),
    );
    return new States(this.runtime, tensor, rows, hiddenSize, dtype);
  }

  /** Queues a copy of the last hidden state into a row of the thoughts. */
  recordThought(thoughts: States, row: number): void {
    const { rowBytes } = thoughts;
    this.runtime.scoped(() => {
      this.runtime.copyWithin(this.#expect("hidden"), 0, thoughts.tensor, row * rowBytes, rowBytes);
    });
  }

  /** Computes R_in(H), (M, D) → (M, D). */
  innerLink(thoughts: States): States {
    this.#look(thoughts, "its latent thoughts are");
    const call = (): unknown => this.library.innerLink(thoughts.tensor, this.links.inner);
    return this.#states(call, thoughts.rows, this.spec.hiddenSize);
  }

  /**
   * Computes R_out of an outgoing edge, (M, D) → (M, D_target).
   *
   * @param targetSize - the receiver's hidden size.
   */
  outerLink(edge: string, states: States, targetSize: number): States {
    const link = this.links.outer.get(edge);
    if (!link)
      throw new EngineError("internal", `agent '${this.spec.id}' has no outer link for edge '${edge}'`);
    const mapped = this.#states(() => this.library.outerLink(states.tensor, link), states.rows, targetSize);
    this.#look(mapped, `what its links hand over on '${edge}' is`);
    return mapped;
  }

  /** Runs the LM head if the last call gave a hidden state, so that a token can be picked. */
  logits(): void {
    if (this.#last?.kind === "logits") return;
    const hidden = this.#expect("hidden");
    const { hiddenSize, vocabSize } = this.spec;
    this.runtime.scoped(() => {
      const flat = this.library.lmHead(
        this.runtime.view(hidden, [1, hiddenSize]),
        this.model.params,
      ) as Tensor;
      this.#remember("logits", this.runtime.view(flat, [1, 1, vocabSize]));
    });
  }

  /**
   * Picks a token on the GPU and reads its id: one synchronisation, four bytes. With `topK` it reads so many ids and
   * probabilities, and a few more, and picks one of them here.
   *
   * @throws EngineError `bad-numbers` when the logits, or thoughts and hand-offs of this run so far, are not finite.
   */
  async pick(picking: Picking): Promise<number> {
    const logits = this.#expect("logits");
    const { runtime } = this;
    const few = this.#few(picking);
    const picked = runtime.scoped(() => {
      this.#penalise(logits, picking);
      const tensor = this.#pickOnGpu(logits, picking, few);
      runtime.flush();
      const bytes = this.spec.vocabSize * DTYPE_BYTES.float32;
      const values = { buffer: runtime.buffer(logits), bytes, dtype: "float32" } as const;
      this.finite.look(values, this.#fault("its logits are"), runtime.buffer(tensor));
      return runtime.keep(tensor);
    });
    try {
      const { buffer } = await runtime.read(picked);
      const ids = new Int32Array(buffer, 0, few ?? 1);
      const fault = this.finite.found(ids[0] ?? 0);
      if (fault) throw new EngineError("bad-numbers", fault);
      if (few === undefined) return ids[0] ?? 0;
      const probabilities = new Float32Array(buffer, few * DTYPE_BYTES.int32, few);
      const { topK, topP, uniform } = picking;
      return ids[pickLikeliest(probabilities, topK, topP, uniform)] ?? 0;
    } finally {
      this.runtime.free(picked);
    }
  }

  /** Feeds one decoded token. */
  decode(id: number): void {
    this.#reserve(1);
    this.#leads = false;
    this.runtime.scoped(() => {
      this.model.tokenId.copyFromRawBytes(new Uint8Array(Int32Array.of(id).buffer));
      const embedded = this.library.embed(this.model.tokenId, this.model.params) as Tensor;
      const input = this.runtime.view(embedded, [1, 1, this.spec.hiddenSize]);
      this.#forward(this.library.decode, 1, "logits", input, []);
    });
  }

  /** Finds the k likeliest tokens of each hidden state (logit lens), a few rows at a time. */
  async lens(states: States, k: number): Promise<TokenProbability[][]> {
    const likeliest: TokenProbability[][] = [];
    for (let start = 0; start < states.rows; start += LENS_ROWS) {
      const rows = Math.min(LENS_ROWS, states.rows - start);
      const call = (): unknown => this.library.lmHead(this.#slice(states, start, rows), this.model.params);
      const logits = this.#states(call, rows, this.spec.vocabSize, "float32");
      try {
        likeliest.push(...topProbabilities(await logits.read(), k, this.tokenizer));
      } finally {
        logits.free();
      }
    }
    return likeliest;
  }

  /** Waits until the GPU has finished: one synchronisation. */
  sync(): Promise<void> {
    return this.runtime.sync();
  }

  /** Uploads rows, (rows, D). */
  uploadStates(values: Float32Array<ArrayBuffer>): States {
    const { hiddenSize, dtype } = this.spec;
    const rows = values.length / hiddenSize;
    const bytes = floatToBytes(values, dtype);
    const tensor = this.runtime.scoped(() =>
      this.runtime.keep(this.runtime.upload([rows, hiddenSize], dtype, bytes)),
    );
    return new States(this.runtime, tensor, rows, hiddenSize, dtype);
  }

  get #itemBytes(): number {
    return DTYPE_BYTES[this.spec.dtype];
  }

  /** Embeds tokens, one prefill chunk at a time. The caller frees the (T, D) pieces. */
  #embed(ids: readonly number[]): States[] {
    const step = this.library.prefillChunkSize;
    const pieces: States[] = [];
    for (let start = 0; start < ids.length; start += step) {
      const slice = ids.slice(start, start + step);
      const call = (): unknown => this.library.embed(this.#ints(slice), this.model.params);
      pieces.push(this.#states(call, slice.length, this.spec.hiddenSize));
    }
    return pieces;
  }

  /** Takes some of the rows, in the current scope. This copies them, unless they are all of the rows. */
  #slice(states: States, start: number, rows: number): Tensor {
    if (rows === states.rows) return states.tensor;
    const { columns, dtype, rowBytes } = states;
    const slice = this.runtime.empty([rows, columns], dtype);
    this.runtime.copyWithin(states.tensor, start * rowBytes, slice, 0, rows * rowBytes);
    return slice;
  }

  /** Keeps the one matrix that a function returns. */
  #states(call: () => unknown, rows: number, columns: number, dtype = this.spec.dtype): States {
    const tensor = this.runtime.scoped(() => this.runtime.keep(call() as Tensor));
    return new States(this.runtime, tensor, rows, columns, dtype);
  }

  /** Queues a look for NaN and infinity. */
  #look(states: States, what: string): void {
    const { rows, rowBytes, dtype } = states;
    this.runtime.scoped(() =>
      this.finite.look({ buffer: states.submitted(), bytes: rows * rowBytes, dtype }, this.#fault(what)),
    );
  }

  /** Says what happened, if these values are not finite, and what to do. */
  #fault(what: string): string {
    const { id, dtype } = this.spec;
    const overflow = "float16 may have overflowed, so use the float32 build; if that fails too, ";
    return (
      `agent '${id}': ${what} not finite (NaN or infinity); ${dtype === "float16" ? overflow : ""}` +
      "its weights or links are broken: check the checkpoint and build the system again"
    );
  }

  /** How many of the likeliest tokens are read; undefined if one is picked from all of the vocabulary. */
  #few({ temperature, topK }: Picking): number | undefined {
    const { vocabSize } = this.spec;
    if (temperature === 0 || topK === 0 || topK >= vocabSize) return undefined;
    return Math.min(vocabSize, topK + MOST_TIES);
  }

  /** The sampled token, (1,) int32; or the `few` likeliest, (2 few,): their ids, then the bits of their probabilities. */
  #pickOnGpu(logits: Tensor, { temperature, topP, uniform }: Picking, few: number | undefined): Tensor {
    const { runtime, library } = this;
    if (temperature === 0) return library.argmax(logits) as Tensor;
    const probabilities = library.softmax(logits, this.#floats(temperature)) as Tensor;
    const sorted = library.argsort(runtime.view(probabilities, [1, this.spec.vocabSize]));
    const [values, order] = [runtime.item(sorted, 0), runtime.item(sorted, 1)];
    if (few === undefined) {
      const { sampleIndices } = this.model;
      return library.sample(
        values,
        order,
        this.#floats(uniform),
        sampleIndices,
        this.#floats(topP),
      ) as Tensor;
    }
    const bytes = few * DTYPE_BYTES.int32;
    const likeliest = runtime.empty([2 * few], "int32");
    runtime.copyWithin(order, 0, likeliest, 0, bytes);
    runtime.copyWithin(values, 0, likeliest, bytes, bytes);
    return likeliest;
  }

  /** Divides the logits of the written tokens by the penalty, or multiplies them if they are negative, in place. */
  #penalise(logits: Tensor, { repetitionPenalty, written }: Picking): void {
    const tokens = [...new Set(written)];
    if (repetitionPenalty === 1 || tokens.length === 0) return;
    const { runtime, library } = this;
    if (!library.penalty) {
      throw new EngineError(
        "bad-library",
        `agent '${this.spec.id}': its model library has no function 'apply_penalty_inplace', which its repetition ` +
          "penalty needs; rebuild the system with 'rmas build'",
      );
    }
    library.penalty(
      runtime.view(logits, [1, this.spec.vocabSize]),
      this.#ints([0]),
      this.#ints(tokens.map(() => 0)),
      this.#ints(tokens),
      this.#ints(tokens.map(() => 1)),
      runtime.view(this.#floats(0, 0, repetitionPenalty), [1, 3]),
    );
  }

  #floats(...values: readonly number[]): Tensor {
    return this.runtime.upload([values.length], "float32", new Uint8Array(Float32Array.from(values).buffer));
  }

  #ints(values: readonly number[]): Tensor {
    return this.runtime.upload([values.length], "int32", new Uint8Array(Int32Array.from(values).buffer));
  }

  /** Extends the KV cache by `length` positions, and remembers the first result. */
  #forward(
    call: Compiled,
    length: number,
    kind: "hidden" | "logits",
    input: Tensor,
    links: readonly TvmObject[],
  ): void {
    const { kvCache, recurrentState, params, counters } = this.model;
    const states = recurrentState ? [kvCache.handle, recurrentState] : [kvCache.handle];
    const result = kvCache.extend(this.sequence, length, () => call(input, ...states, params, ...links));
    this.#remember(kind, this.runtime.item(result, 0));
    this.#position += length;
    counters.addPositions(length);
  }

  /** Whether the recurrent state after these tokens is known, if there is one. */
  #hasStateAfter(tokens: readonly number[]): boolean {
    if (!this.keepsMarksOnly) return true;
    const { leading } = this.#snapshot ?? { leading: [] };
    return leading.length === tokens.length && commonLength(leading, tokens) === tokens.length;
  }

  /** Copies the recurrent state, if there is one. */
  #takeSnapshot(): void {
    const { recurrentState } = this.model;
    const { recurrent } = this.library;
    if (!recurrentState || !recurrent) return;
    this.runtime.scoped(() => {
      const state = this.#snapshot?.state ?? this.runtime.keep(recurrent.create() as TvmObject);
      recurrent.copy(recurrentState, state);
      this.#snapshot = { state, leading: [...this.#leading] };
    });
  }

  #remember(kind: "hidden" | "logits", tensor: Tensor): void {
    const kept = this.runtime.keep(tensor);
    this.#forget();
    this.#last = { kind, tensor: kept };
  }

  #forget(): void {
    if (this.#last) this.runtime.free(this.#last.tensor);
    this.#last = undefined;
  }

  #expect(kind: "hidden" | "logits"): Tensor {
    if (this.#last?.kind !== kind) {
      throw new EngineError(
        "internal",
        `agent '${this.spec.id}' has no ${kind} yet; the prompt is empty or out of order`,
      );
    }
    return this.#last.tensor;
  }

  #reserve(positions: number): void {
    const needed = this.#position + positions;
    if (needed > this.contextWindowSize) {
      throw windowError(this.spec.id, needed, this.contextWindowSize);
    }
  }
}

/** @throws EngineError `internal` for rows of another runtime; a stage with such agents is not resident. */
function onGpu(rows: Rows): States {
  if (rows instanceof States) return rows;
  throw new EngineError("internal", "rows of another runtime were not brought to the GPU");
}
