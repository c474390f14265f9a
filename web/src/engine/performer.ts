/**
 * The interface of an agent: all that the recursion asks of one, whatever computes it.
 *
 * Two implementations meet it: `agent.ts` on the GPU through WebGPU, and `processor/agent.ts` on the processor, without
 * one. A turn begins with `begin` and `feed`, which reads the prompt. Any number of `think` steps follow, and then
 * hand-offs (`innerLink`, `outerLink`) or decoding (`logits`, then `pick` and `decode` in turn). Only the methods that
 * return a promise may wait for what was computed; the others queue work, or do it at once.
 *
 * Rows belong to the runtime that made them. Between agents of different runtimes they pass as float32 on the CPU: the
 * stage of such agents is not `resident`, and the recursion then reads every hand-off and gives it to its reader's
 * `uploadStates`.
 *
 * Source: docs/recursion.md, rules 3 and 5; docs/engine.md has the rules that an implementation keeps.
 */
import { EngineError } from "./errors";
import type { AgentSpec } from "./system";
import type { Tokenizer } from "./tokenizer";
import type { Matrix, TokenProbability } from "./types";

/** A (rows, columns) matrix of hidden states or embeddings, where its runtime has it. Its owner frees it. */
export interface Rows {
  readonly rows: number;
  readonly columns: number;
  /** Reads the matrix as float32. */
  read(): Promise<Matrix>;
  /** May be called twice. */
  free(): void;
}

/** A piece of input: token ids, or rows that already are input embeddings. */
export type Part =
  | { readonly kind: "tokens"; readonly ids: readonly number[] }
  | { readonly kind: "states"; readonly states: Rows };

/** How a token is picked from logits; greedy when `temperature` is 0. */
export interface Picking {
  readonly temperature: number;
  readonly topP: number;
  /** Only so many of the likeliest tokens count; 0: all do. */
  readonly topK: number;
  /** 1 changes nothing; above 1, tokens that are in `written` become less likely. */
  readonly repetitionPenalty: number;
  /** The tokens that the penalty applies to. */
  readonly written: readonly number[];
  /** In [0, 1). */
  readonly uniform: number;
}

/** An agent, as the recursion sees it. M latent steps, D its hidden size. */
export interface Performer {
  readonly spec: AgentSpec;
  readonly tokenizer: Pick<Tokenizer, "encode" | "decode" | "tokenText">;
  /** How many positions its context holds. */
  readonly contextWindowSize: number;
  /** How many positions its context has: those that were kept, and those that this turn has fed so far. */
  readonly position: number;
  /** Whether it can keep positions up to a mark alone. */
  readonly keepsMarksOnly: boolean;
  /**
   * Starts a turn. The agent may keep the positions before one of the marks, if its last turns computed the same tokens.
   *
   * @param leading - tokens that the prompt begins with.
   * @param marks - numbers of leading positions, ascending, that may be kept now or for later turns.
   * @param room - positions that the turn may need.
   * @returns how many leading positions are kept. `feed` takes the rest of the prompt.
   */
  begin(leading?: readonly number[], marks?: readonly number[], room?: number): number;
  /** Keeps nothing for the next turn, because what was computed may be wrong. */
  forget(): void;
  /**
   * Feeds tokens and rows.
   *
   * @param want - `hidden` before a latent step or a hand-off, `logits` before a token is picked.
   * @throws EngineError `context-overflow`.
   */
  feed(parts: readonly Part[], want: "hidden" | "logits"): void;
  /** Takes one latent step: runs the agent on R_in of its last hidden state. */
  think(): void;
  /** Room for M latent thoughts, (M, D). */
  createThoughts(rows: number): Rows;
  /** Copies the last hidden state into a row of the thoughts. */
  recordThought(thoughts: Rows, row: number): void;
  /** R_in(H), (M, D) → (M, D). */
  innerLink(thoughts: Rows): Rows;
  /** R_out of an outgoing edge, (M, D) → (M, D_target). */
  outerLink(edge: string, states: Rows, targetSize: number): Rows;
  /** Runs the LM head if the last call gave a hidden state, so that a token can be picked. */
  logits(): void;
  /** @throws EngineError `bad-numbers` when anything that was computed in the run so far is not finite. */
  pick(picking: Picking): Promise<number>;
  /** Feeds one decoded token. */
  decode(id: number): void;
  /** The k likeliest tokens of each hidden state (logit lens). */
  lens(states: Rows, k: number): Promise<TokenProbability[][]>;
  /** Waits until everything is computed. */
  sync(): Promise<void>;
  /** Takes rows that another runtime or another device computed, (rows, D) in float32. */
  uploadStates(values: Float32Array<ArrayBuffer>): Rows;
}

/** Splits input after some of the tokens that it begins with. A half without positions is empty. */
export function splitLeading(
  parts: readonly Part[],
  count: number,
): readonly [readonly Part[], readonly Part[]] {
  const [first, ...others] = parts;
  if (count <= 0 || first?.kind !== "tokens") return [[], parts];
  const [before, after] = [first.ids.slice(0, count), first.ids.slice(count)];
  const rest: readonly Part[] = after.length > 0 ? [{ kind: "tokens", ids: after }, ...others] : others;
  return [[{ kind: "tokens", ids: before }], rest];
}

/** What an agent throws when a turn does not fit its context window. */
export function windowError(agent: string, needed: number, window: number): EngineError {
  return new EngineError(
    "context-overflow",
    `agent '${agent}' needs ${needed} positions, its context window has ${window}; ` +
      "ask a shorter question, or take fewer latent steps",
  );
}
