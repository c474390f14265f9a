/**
 * What the engine takes and gives: plain data that crosses `postMessage`. No behaviour.
 *
 * Shape letters: M latent steps, D the agent's hidden size, V its vocabulary size, T positions.
 */

/** `latent`: RecursiveMAS. `text`: TextMAS. `single`: the deciding agent alone. `loop`: it, on its inner link. */
export type Mode = "latent" | "text" | "single" | "loop";

/** How text is decoded; a system has its own settings, a run may override any. */
export interface Decoding {
  /** Most tokens of an answer, at least 1. */
  readonly maxNewTokens: number;
  /** 0 decodes greedily. */
  readonly temperature: number;
  /** Nucleus, (0, 1]; used when `temperature` is above 0. */
  readonly topP: number;
  /** Of the sampler; the same seed gives the same answer. */
  readonly seed: number;
  /** Whether the deciding agent rolls out its own latent thoughts first in the last round. */
  readonly thinkBeforeAnswer: boolean;
  /** Text that opens the answer; it is fed, not decoded. */
  readonly answerPrefix: string;
  /** Tokens a turn may write in text mode; null: as many as latent steps. */
  readonly textTokens: number | null;
}

/** Other prompts for an agent, for one run; the slots must be the agent's own edges. */
export interface PromptOverride {
  readonly prompt?: string;
  /** null: no first-round prompt, `prompt` is used in every round. */
  readonly firstRoundPrompt?: string | null;
}

/**
 * What arrives over an edge instead of the sender's thoughts, to see what they were worth: zeros, or (M, D_target)
 * matrices kept from another run's hand-offs, one a round; the last one serves all later rounds.
 */
export type HandoffReplacement = "zeros" | readonly Matrix[];

/** What a run keeps for later reading. Everything is read back at the end of a turn, never inside one. */
export interface TraceOptions {
  /** Hand-offs: R_out(R_in(H)), (M, D_target), in float32. */
  readonly handoffs?: boolean;
  /** Latent thoughts H, (M, D), in float32. */
  readonly thoughts?: boolean;
  /** Logit lens: for every latent thought the k likeliest tokens of its own agent. 0 or absent: off. */
  readonly lensTopK?: number;
}

/** Where the search tool asks: a MediaWiki's `api.php`, such as Wikipedia's. */
export interface SearchOptions {
  readonly url: string;
}

/** One question to answer. Everything absent is taken from the system. */
export interface RunOptions {
  readonly question: string;
  readonly mode?: Mode;
  /** 1…64. */
  readonly rounds?: number;
  /** M, latent steps a turn, 1…1024. */
  readonly latentSteps?: number;
  readonly decoding?: Partial<Decoding>;
  /** By agent id. */
  readonly prompts?: Readonly<Record<string, PromptOverride>>;
  /**
   * Ids of the agents that take part, in the order they run; the last one decides. An edge whose receiver does not run
   * later in the round becomes feedback. Default: the system's own order.
   */
  readonly order?: readonly string[];
  /** Ids of the edges that carry anything; the slots of the others stay empty. Default: all. */
  readonly edges?: readonly string[];
  /** By edge id; in latent mode. */
  readonly replace?: Readonly<Record<string, HandoffReplacement>>;
  readonly trace?: TraceOptions;
  /** Lets the deciding agent search, beside the tools it declares. Without it nothing is ever fetched during a run. */
  readonly search?: SearchOptions;
}

/** Exact counts since some moment, made where the GPU device is called (`device.ts`). */
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
  /** Most bytes of GPU buffers that ever existed at once. */
  readonly peakBytes: number;
}

/** One candidate of the logit lens or of a decoded token. */
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
   * Positions that the model computed: the prompt with its hand-offs, R_in of thoughts, the answer prefix, what tools
   * gave, and sampled tokens. A turn's last token is not among them, because it is never fed back. Absent only in runs
   * that version 0.1.0 saved.
   */
  readonly forwardPositions?: number;
  /** Text the turn decoded; empty for a latent turn. */
  readonly text: string;
  /** Wall time from the prompt to the last hand-off, GPU work included; reading back for the trace comes after it. */
  readonly ms: number;
  /**
   * What the turn added to the counters, without reading back for the trace (`liveBytes`, `peakBytes` are the values at
   * its end).
   */
  readonly counters: Counters;
  /** With `trace.thoughts`. */
  readonly thoughts?: Matrix;
  /** With `trace.lensTopK`: one list per latent thought. */
  readonly lens?: readonly (readonly TokenProbability[])[];
}

/** One hand-off, after it reached the receiver's side. */
export interface HandoffSummary {
  readonly round: number;
  readonly edge: string;
  readonly from: string;
  readonly to: string;
  /** Rows handed over: M; 0 when the edge was switched off. */
  readonly rows: number;
  /** Text handed over, in text mode. */
  readonly text?: string;
  /** With `trace.handoffs`. */
  readonly states?: Matrix;
}

/** A call to a tool, and what it gave. */
export interface ToolCall {
  readonly tool: string;
  readonly input: string;
  readonly output: string;
  /** What was fed into the context and joined the answer: ` <result> … </result>`. */
  readonly text: string;
}

/** What a run reports while it goes. `round` and `step` count from 0. */
export type RunEvent =
  | {
      readonly kind: "turn-start";
      readonly round: number;
      readonly agent: string;
      readonly promptTokens: number;
      /** Latent rows spliced into the prompt. */
      readonly latentRows: number;
    }
  | {
      /** A latent step was handed to the GPU. `ms` is CPU time: nothing waits for the GPU inside a turn. */
      readonly kind: "step";
      readonly round: number;
      readonly agent: string;
      readonly step: number;
      readonly of: number;
      /** Positions that the turn has computed so far; a saved run does not keep it. */
      readonly forwardPositions?: number;
      readonly ms: number;
      /** What the step added to the counters; the first step's hidden state comes from the prompt itself. */
      readonly counters?: Counters;
    }
  | {
      /** A token was decoded; the visible answer is `text` appended to what came before. */
      readonly kind: "token";
      readonly round: number;
      readonly agent: string;
      readonly tokenId: number;
      readonly text: string;
      /** Whether this is the deciding agent's answer (false: a thought in text mode). */
      readonly answer: boolean;
      /** Positions that the turn has computed so far; a saved run does not keep it. */
      readonly forwardPositions?: number;
      readonly ms: number;
      /** What picking it, and feeding the one before, added to the counters. */
      readonly counters?: Counters;
      /** The call to a tool that this token completes; its result is at the end of `text`, and was not sampled. */
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
  /** The answer's tokens; results of tools are among them, and were not sampled. */
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

/** Where loading stands. */
export interface LoadProgress {
  /** `download` covers verifying too; `compile` is shaders, `upload` weights to the GPU. */
  readonly phase: "manifest" | "download" | "compile" | "upload" | "ready";
  /** One line for people, e.g. `planner: params_shard_0.bin`. */
  readonly label: string;
  /** Of the phase `download`: bytes so far, and of all files. */
  readonly loadedBytes: number;
  readonly totalBytes: number;
  /** Bytes of `loadedBytes` that came from the browser's cache. */
  readonly cachedBytes: number;
  /** 0…1 over everything, never falling. */
  readonly fraction: number;
}

/** A system's files at hand, by path relative to its manifest: a folder that a visitor opened. */
export type LocalFiles = ReadonlyMap<string, Blob>;

/** Options of `loadSystem`. */
export interface LoadOptions {
  /** Read from here in place of the network; `url` is then the manifest's path among them. */
  readonly files?: LocalFiles;
  /** Content of another `recursivelink.json` for the same agents and edges, in place of the system's own. */
  readonly links?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Keep verified files in the browser's Cache Storage. Default true. */
  readonly cache?: boolean;
  readonly powerPreference?: "low-power" | "high-performance";
}

/** The GPU the system runs on. */
export interface DeviceInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** A software adapter (SwiftShader): correct, slow. */
  readonly fallback: boolean;
  readonly features: readonly string[];
}

/** One question of a system's task. */
export interface TaskQuestion {
  readonly question: string;
  readonly answer: string;
  readonly choices?: readonly string[] | undefined;
  /** A label to tell questions apart by, such as a difficulty. */
  readonly group?: string | undefined;
}
