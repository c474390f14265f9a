/**
 * What the engine takes and gives: plain data that crosses `postMessage`.
 *
 * What files hold too is generated from the project's schemas. Shape letters: M latent steps, D the agent's hidden size,
 * V its vocabulary size, T positions.
 */
import type {
  Counters,
  Decoding,
  HandoffSummary,
  Matrix,
  Mode,
  SearchOptions,
  TraceOptions,
  TurnSummary,
} from "../formats/generated/types";

export type {
  Counters,
  Decoding,
  HandoffSummary,
  Matrix,
  Mode,
  RunResult,
  SearchOptions,
  StopReason,
  TokenProbability,
  TraceOptions,
  TurnSummary,
} from "../formats/generated/types";

/** Replaces an agent's prompts for one run. The slots must name edges that arrive at the agent. */
export interface PromptOverride {
  readonly prompt?: string;
  /** null: the first round uses `prompt` too. */
  readonly firstRoundPrompt?: string | null;
}

/**
 * What arrives over an edge instead of the sender's thoughts, to measure what they contribute: zeros, or (M, D_target)
 * matrices from another run's hand-offs, one per round. The last one serves all later rounds.
 */
export type HandoffReplacement = "zeros" | readonly Matrix[];

/** One question to answer. The system's own settings stand in for absent ones. */
export interface RunOptions {
  readonly question: string;
  readonly mode?: Mode;
  /** 1…64. */
  readonly rounds?: number;
  /** M, latent steps per turn, 1…1024. */
  readonly latentSteps?: number;
  readonly decoding?: Partial<Decoding>;
  /** By agent id. */
  readonly prompts?: Readonly<Record<string, PromptOverride>>;
  /**
   * Ids of the agents that take part, in the order in which they run; the last one decides. An edge becomes feedback if
   * its receiver does not run later in the round. Default: all agents in the system's own order.
   */
  readonly order?: readonly string[];
  /** Ids of the edges that carry something; the slots of the others stay empty. Default: all. */
  readonly edges?: readonly string[];
  /** By edge id; has an effect in latent mode. */
  readonly replace?: Readonly<Record<string, HandoffReplacement>>;
  readonly trace?: TraceOptions;
  /** Lets the deciding agent search, besides using its own tools. Without it, a run fetches nothing. */
  readonly search?: SearchOptions;
}

/** A call to a tool, and its result. */
export interface ToolCall {
  readonly tool: string;
  readonly input: string;
  readonly output: string;
  /** The text that joins the context and the answer: ` <result> … </result>`. */
  readonly text: string;
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
      /** A latent step was submitted to the GPU. `ms` is CPU time, because nothing waits for the GPU within a turn. */
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
  /** Files to read instead of the network; `url` is then the manifest's path among them. */
  readonly files?: LocalFiles;
  /** The content of another `recursivelink.json` for the same agents and edges, to use instead of the system's own. */
  readonly links?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Whether to keep verified files in the browser's Cache Storage. Default true. */
  readonly cache?: boolean;
  readonly powerPreference?: "low-power" | "high-performance";
}

/** The GPU that the system runs on. */
export interface DeviceInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** Whether it is a software adapter, such as SwiftShader: correct but slow. */
  readonly fallback: boolean;
  readonly features: readonly string[];
}

/** One question of a system's task. */
export interface TaskQuestion {
  readonly question: string;
  readonly answer: string;
  readonly choices?: readonly string[] | undefined;
  /** A label that groups questions, such as a difficulty. */
  readonly group?: string | undefined;
}
