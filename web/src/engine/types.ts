/**
 * What the engine takes and gives: plain data that crosses `postMessage`.
 *
 * What files hold too is generated from the project's schemas. Shape letters: M latent steps, D the agent's hidden size,
 * V its vocabulary size, T positions.
 */
import type {
  Counters,
  HandoffSummary,
  Matrix,
  StopReason,
  TokenProbability,
  TurnSummary,
} from "../formats/generated/types";
import type { RunOptions } from "../formats/saved-run";
import type { System } from "./system";

export type {
  AnswerRetry,
  Counters,
  Decoding,
  EarlyStop,
  EarlyStopping,
  HandoffSummary,
  Matrix,
  Mode,
  QuestionRecord as TaskQuestion,
  RunResult,
  Sampling,
  SearchOptions,
  StopReason,
  TokenProbability,
  TraceOptions,
  TurnSummary,
} from "../formats/generated/types";
export type { PromptOverride, RunOptions } from "../formats/saved-run";

/** A call to a tool, and its result. */
export interface ToolCall {
  readonly tool: string;
  readonly input: string;
  readonly output: string;
  /** The text that joins the context and the answer: ` <result> … </result>`. */
  readonly text: string;
  /** Whether it was one call too many, so that nothing was computed and the answer ends. */
  readonly refused?: boolean;
}

/** What a run reports while it goes on. `round` and `step` count from 0. */
export type RunEvent =
  | {
      readonly kind: "turn-start";
      readonly round: number;
      readonly agent: string;
      readonly promptTokens: number;
      /** How many rows of hand-offs the prompt contains. */
      readonly latentRows: number;
    }
  | {
      /**
       * A latent step was submitted to the GPU. `ms` is CPU time, because nothing waits for the GPU within a turn, unless
       * the run reads each thought.
       */
      readonly kind: "step";
      readonly round: number;
      readonly agent: string;
      readonly step: number;
      readonly of: number;
      /** Positions that the turn has computed so far. Saved runs leave it out. */
      readonly forwardPositions?: number;
      readonly ms: number;
      /** What the step added to the counters. The first step adds little: the prompt gives its hidden state. */
      readonly counters?: Counters;
      /** The likeliest tokens of its thought, if the run asks for `lensEachStep`. Saved runs leave them out. */
      readonly lens?: readonly TokenProbability[];
    }
  | {
      /** A token was decoded. The visible text is that of all tokens so far, joined, less what they replace. */
      readonly kind: "token";
      readonly round: number;
      readonly agent: string;
      readonly tokenId: number;
      readonly text: string;
      /** UTF-16 units at the end of the visible text that `text` replaces, if decoding the token changed them. */
      readonly replaces?: number;
      /** Whether this is the deciding agent's answer (false: a thought in text mode). */
      readonly answer: boolean;
      /** Positions that the turn has computed so far. Saved runs leave it out. */
      readonly forwardPositions?: number;
      readonly ms: number;
      /** What feeding the token before and picking this one added to the counters. */
      readonly counters?: Counters;
      /** The call that this token completes. The tool's result ends `text`, and was not sampled. */
      readonly tool?: ToolCall;
    }
  | ({ readonly kind: "handoff" } & HandoffSummary)
  | ({ readonly kind: "turn-end" } & TurnSummary);

/** What a hand-off carries: rows (M, D_target), or a text in text mode. */
export type Carried = { readonly rows: Matrix } | { readonly text: string };

/** One turn of a run whose other turns may be taken elsewhere. */
export interface TurnRequest {
  /** The whole run's. */
  readonly options: RunOptions;
  /** The turn's index among those that `planRun` plans for these options. */
  readonly turn: number;
  /** What arrives at the turn's agent, by edge id. The slots of other edges stay empty. */
  readonly carried: Readonly<Record<string, Carried>>;
  /** How many numbers the turns before have drawn to sample tokens. */
  readonly drawn: number;
  /** How many calls of tools the turns before have made. */
  readonly calls: number;
}

/** What came out of one turn. */
export interface TurnResult {
  readonly summary: TurnSummary;
  /** What the turn hands over, by edge id. */
  readonly carried: Readonly<Record<string, Carried>>;
  /** The answer, if the turn ends with it. */
  readonly answer?: {
    readonly text: string;
    readonly tokenIds: readonly number[];
    readonly stopReason: StopReason;
  };
  /** As in the request, with what this turn added. */
  readonly drawn: number;
  readonly calls: number;
}

/** The progress of loading. */
export interface LoadProgress {
  /** `download` includes verifying, `compile` compiles shaders, `upload` uploads weights to the GPU. */
  readonly phase: "manifest" | "download" | "compile" | "upload" | "ready";
  /** One line for people, e.g. `planner: params_shard_0.bin`. */
  readonly label: string;
  /** Bytes downloaded so far. */
  readonly loadedBytes: number;
  readonly totalBytes: number;
  /** The part of `loadedBytes` that came from the browser's cache. */
  readonly cachedBytes: number;
  /** 0…1 over all phases; it never falls. */
  readonly fraction: number;
}

/** The files of a folder that a visitor opened, by path relative to the manifest. */
export type LocalFiles = ReadonlyMap<string, Blob>;

/** Options of `loadSystem`. */
export interface LoadOptions {
  /** What `readSystem` returned for the same `url`: it is loaded, and the manifest is not fetched again. */
  readonly system?: System;
  /** Files to read instead of the network; `url` is then the manifest's path among them. */
  readonly files?: LocalFiles;
  /** The content of another `recursivelink.json` for the same agents and edges, to use instead of the system's own. */
  readonly links?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Whether to keep verified files in the browser's Cache Storage. Default true. */
  readonly cache?: boolean;
  readonly powerPreference?: "low-power" | "high-performance";
  /**
   * What computes: the GPU, or the processor, which needs no WebGPU and is made for systems as small as the shipped ones
   * (docs/engine.md). Default `webgpu`.
   */
  readonly runtime?: "webgpu" | "processor";
  /**
   * Whether the agents are loaded one after another, each for its turns, for systems that do not fit the GPU's memory
   * as a whole. Hand-offs wait on the CPU. Default false.
   */
  readonly oneByOne?: boolean;
  /** Whether the web runtime's calls to the GPU are merged; false is for comparison. The results are the same. Default true. */
  readonly fewCalls?: boolean;
  /**
   * Ids of the agents that this device holds; nothing of the others is downloaded. Then only `turn` performs anything,
   * unless the run's order names these agents alone. Default: all agents.
   */
  readonly agents?: readonly string[];
}

/** Counts since the device was opened that no run keeps. */
export interface LiveCounts {
  /** Bind groups created. */
  readonly bindGroups: number;
  /** Calls of `queue.writeBuffer`. */
  readonly writes: number;
  /** Compute passes begun. */
  readonly passes: number;
  /** Positions that models computed. */
  readonly positions: number;
}

/** What the system runs on. */
export interface DeviceInfo {
  readonly runtime: "webgpu" | "processor";
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** Whether it is a software adapter, such as SwiftShader: correct but slow. */
  readonly fallback: boolean;
  readonly features: readonly string[];
}
