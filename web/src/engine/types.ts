/**
 * What the engine takes and gives: plain data that crosses `postMessage`.
 *
 * Shape letters: M latent steps, D the agent's hidden size, V its vocabulary size, T positions.
 */

/**
 * `latent`: RecursiveMAS. `text`: TextMAS. `single`: the deciding agent alone. `loop`: the deciding agent alone, with
 * its inner link.
 */
export type Mode = "latent" | "text" | "single" | "loop";

/** How text is decoded. A system has its own settings, and a run may override any of them. */
export interface Decoding {
  /** The most tokens that an answer may have, at least 1. */
  readonly maxNewTokens: number;
  /** 0 decodes greedily. */
  readonly temperature: number;
  /** Nucleus sampling, (0, 1]; has an effect if `temperature` is above 0. */
  readonly topP: number;
  /** Seeds the sampler; the same seed gives the same answer. */
  readonly seed: number;
  /** Whether the deciding agent thinks in the last round before it answers. */
  readonly thinkBeforeAnswer: boolean;
  /** Text that the agent is fed before it decodes its answer. */
  readonly answerPrefix: string;
  /** The most tokens that a turn may write in text mode; null: as many as latent steps. */
  readonly textTokens: number | null;
}

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

/** What a run reads back from the GPU and keeps. It reads at the end of a turn, never within one. */
export interface TraceOptions {
  /** Hand-offs: R_out(R_in(H)), (M, D_target), in float32. */
  readonly handoffs?: boolean;
  /** Latent thoughts H, (M, D), in float32. */
  readonly thoughts?: boolean;
  /** Logit lens: the k likeliest tokens of every latent thought, by its own agent. 0 or absent: off. */
  readonly lensTopK?: number;
}

/** Where the search tool searches: the `api.php` of a MediaWiki such as Wikipedia. */
export interface SearchOptions {
  readonly url: string;
}

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

/** Exact counts since some moment, made where the GPU device is called (`counters.ts`). */
export interface Counters {
  /** Times JavaScript waited for the GPU: buffer mappings and `onSubmittedWorkDone`. */
  readonly syncs: number;
  /** Bytes mapped for reading on the CPU. */
  readonly readbackBytes: number;
  /** Compute dispatches. */
  readonly dispatches: number;
  /** `queue.submit` calls. */
  readonly submits: number;
  /** Bytes written by `queue.writeBuffer`. */
  readonly uploadBytes: number;
  /** Bytes of GPU buffers that exist now. */
  readonly liveBytes: number;
  /** The most bytes of GPU buffers that ever existed at once. */
  readonly peakBytes: number;
}

/** A token and its probability, as the logit lens gives them. */
export interface TokenProbability {
  readonly tokenId: number;
  readonly text: string;
  readonly probability: number;
}

/** A matrix that was read back. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  /** Row-major, rows × columns. */
  readonly data: Float32Array;
}

/** What one agent did in one round. */
export interface TurnSummary {
  /** Counted from 0. */
  readonly round: number;
  readonly agent: string;
  readonly promptTokens: number;
  readonly latentSteps: number;
  /** Sampled tokens, the stop token excluded. */
  readonly decodedTokens: number;
  /**
   * Positions that the model computed: the prompt with its hand-offs, R_in of thoughts, the answer prefix, sampled
   * tokens and results of tools. The token that ends a turn is not fed, so it does not count. Absent only in runs that
   * version 0.1.0 saved.
   */
  readonly forwardPositions?: number;
  /** The text that the turn decoded; empty for a latent turn. */
  readonly text: string;
  /** Wall time from the prompt to the last hand-off, GPU work included, without reading back for the trace. */
  readonly ms: number;
  /**
   * What the turn added to the counters, without reading back for the trace. `liveBytes` and `peakBytes` are the values
   * at the end of the turn.
   */
  readonly counters: Counters;
  /** With `trace.thoughts`. */
  readonly thoughts?: Matrix;
  /** With `trace.lensTopK`: one list for each latent thought. */
  readonly lens?: readonly (readonly TokenProbability[])[];
}

/** One hand-off, as its receiver will read it. */
export interface HandoffSummary {
  readonly round: number;
  readonly edge: string;
  readonly from: string;
  readonly to: string;
  /** How many rows were handed over; 0 in text mode. */
  readonly rows: number;
  /** The text that was handed over, in text mode. */
  readonly text?: string;
  /** With `trace.handoffs`. */
  readonly states?: Matrix;
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
      /** A token was decoded. The visible text is that of all tokens so far, joined. */
      readonly kind: "token";
      readonly round: number;
      readonly agent: string;
      readonly tokenId: number;
      readonly text: string;
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

/** Why decoding ended. */
export type StopReason = "stop-token" | "max-new-tokens" | "context-full";

/** The outcome of a run. */
export interface RunResult {
  readonly answer: string;
  readonly stopReason: StopReason;
  readonly mode: Mode;
  readonly rounds: number;
  readonly latentSteps: number;
  /** Sampled tokens of all agents, stop tokens excluded. */
  readonly decodedTokens: number;
  /** The tokens of the answer, results of tools included. */
  readonly answerTokenIds: readonly number[];
  /** Latent steps of all agents. */
  readonly totalLatentSteps: number;
  /** Wall time of the whole run, without reading back for the trace. */
  readonly ms: number;
  readonly turns: readonly TurnSummary[];
  readonly handoffs: readonly HandoffSummary[];
  /** What the whole run added to the counters, without reading back for the trace. */
  readonly counters: Counters;
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
