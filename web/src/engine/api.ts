/**
 * The engine as the page sees it: the only module of `src/engine` that the page imports.
 *
 * @example
 * ```ts
 * const system = await loadSystem("hop-sequential/system.json", { onProgress: show });
 * const result = await system.run({ question: "…", rounds: 3 }, { onEvent: draw, signal });
 * await system.dispose();
 * ```
 */
import { EngineError } from "./errors";
import { readManifest } from "./manifest";
import type { FromWorker, Loaded, MethodName, Methods, ToWorker } from "./messages";
import { STOP_MS, within } from "./patience";
import type { System } from "./system";
import type {
  Counters,
  DeviceInfo,
  LiveCounts,
  LoadOptions,
  LoadProgress,
  LocalFiles,
  RunEvent,
  RunOptions,
  RunResult,
  TaskQuestion,
  TurnRequest,
  TurnResult,
} from "./types";

export { sha256 } from "./digest";
export { fetchAtMost, fetchBytes } from "./download";
export { Change, similarity } from "./early-stopping";
export { EngineError, type EngineErrorCode } from "./errors";
export { bytesToFloat, floatToBytes, type StateDtype } from "./half";
export { forgetFiles, type KeptFile, keptFiles } from "./kept";
export { parseLinks } from "./links";
export {
  fieldsOf,
  type Plan,
  type Plannable,
  type PlannedAgent,
  type PlannedEdge,
  type PlannedTurn,
  type Prompts,
  planPrompts,
  planRun,
  promptProblem,
  type RunSettings,
  samplingOf,
} from "./plan";
export { processorProblem } from "./processor/fits";
export {
  type AgentSpec,
  type EdgeSpec,
  type FileSpec,
  type Memory,
  memoryOf,
  type PromptSpec,
  type System,
} from "./system";
export type * from "./types";

/** The parts of a run's request that are not data. */
export interface RunHooks {
  /** Cancels between two steps; the run then rejects with code `cancelled`. */
  readonly signal?: AbortSignal;
  /** Called once for every event, in order. */
  readonly onEvent?: (event: RunEvent) => void;
  /** Called while an agent is loaded for its turn, if the agents are loaded one by one. */
  readonly onProgress?: (progress: LoadProgress) => void;
}

/** A loaded system. It holds GPU memory until `dispose`. */
export interface SystemHandle {
  /** The manifest: graph, prompts, settings, files. */
  readonly system: System;
  readonly device: DeviceInfo;
  /** The questions of the system's task with the right answers; empty without a task. */
  readonly questions: readonly TaskQuestion[];
  /** Rejects when the GPU device is lost, and never resolves. Load the system again then. */
  readonly lost: Promise<never>;
  /**
   * Answers one question. Only one run can go on at a time.
   *
   * @throws EngineError
   */
  run(options: RunOptions, hooks?: RunHooks): Promise<RunResult>;
  /**
   * Performs one turn of a run whose other turns are taken elsewhere, for example on another device. The hand-offs are
   * those of `run`, bit for bit. Like a run, it goes on alone.
   *
   * @throws EngineError `bad-option` for an agent that is not loaded here, and all that `run` throws.
   */
  turn(request: TurnRequest, hooks?: RunHooks): Promise<TurnResult>;
  /**
   * Measures how fast the agents are on this GPU, with a token of each; an agent that is not on the GPU is left out. Like
   * a run, it goes on alone.
   *
   * @returns ms that a latent step or a decoded token takes, by agent id.
   * @throws EngineError
   */
  paces(signal?: AbortSignal): Promise<Readonly<Record<string, number>>>;
  /** Counts since loading began. */
  counters(): Promise<Counters & LiveCounts>;
  /** Frees all GPU memory and ends the worker. @returns the last counts, in which `liveBytes` is 0. */
  dispose(): Promise<Counters>;
}

/** A request that has no answer yet. */
interface Pending {
  resolve(result: Methods[MethodName]["result"]): void;
  reject(error: EngineError): void;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  onEvent?: ((event: RunEvent) => void) | undefined;
}

/** The part of a `Worker` that the client uses; tests pass their own. */
export interface WorkerPort {
  postMessage(message: ToWorker): void;
  terminate(): void;
  onmessage: ((event: MessageEvent<FromWorker>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
}

/** Matches answers to requests over one worker. */
class Client {
  readonly lost: Promise<never>;
  #failLost: (error: EngineError) => void = () => {};
  #pending = new Map<number, Pending>();
  #nextId = 1;
  #ended: EngineError | undefined;

  constructor(private readonly port: WorkerPort) {
    this.lost = new Promise((_, reject) => {
      this.#failLost = reject;
    });
    this.lost.catch(() => {});
    port.onmessage = (event) => this.#receive(event.data);
    port.onerror = (event) => this.#fail(workerError(event));
  }

  request<K extends MethodName>(
    kind: K,
    params: Methods[K]["params"],
    hooks: { signal?: AbortSignal | undefined } & Pick<Pending, "onProgress" | "onEvent"> = {},
  ): Promise<Methods[K]["result"]> {
    if (this.#ended) return Promise.reject(this.#ended);
    if (hooks.signal?.aborted)
      return Promise.reject(new EngineError("cancelled", "cancelled before it began"));
    const id = this.#nextId++;
    let deadline: ReturnType<typeof setTimeout> | undefined;
    const cancel = (): void => {
      this.port.postMessage({ kind: "cancel", id });
      // A worker that is stuck hears nothing. It is ended, so that the visitor can go on.
      deadline = setTimeout(() => this.#fail(deaf()), STOP_MS);
    };
    return new Promise<Methods[K]["result"]>((resolve, reject) => {
      this.#pending.set(id, {
        resolve: resolve as Pending["resolve"],
        reject,
        // What was on its way when the request was cancelled is of no use any more.
        onProgress: (progress) => {
          if (!hooks.signal?.aborted) hooks.onProgress?.(progress);
        },
        onEvent: hooks.onEvent,
      });
      hooks.signal?.addEventListener("abort", cancel, { once: true });
      this.port.postMessage({ kind, id, params } as ToWorker);
    }).finally(() => {
      clearTimeout(deadline);
      hooks.signal?.removeEventListener("abort", cancel);
    });
  }

  /** Ends the worker and fails every request that has no answer yet. */
  end(error: EngineError): void {
    this.#ended ??= error;
    this.port.terminate();
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
  }

  #fail(error: EngineError): void {
    this.end(error);
    this.#failLost(error);
  }

  #receive(message: FromWorker): void {
    if (message.kind === "lost") {
      this.#failLost(EngineError.fromWire(message.error));
      return;
    }
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    switch (message.kind) {
      case "progress":
        pending.onProgress?.(message.progress);
        break;
      case "event":
        pending.onEvent?.(message.event);
        break;
      case "done":
        this.#pending.delete(message.id);
        pending.resolve(message.result);
        break;
      case "failed":
        this.#pending.delete(message.id);
        pending.reject(EngineError.fromWire(message.error));
        break;
    }
  }
}

const deaf = (): EngineError =>
  new EngineError(
    "device-lost",
    `the agents did not stop within ${STOP_MS / 1000} seconds and were ended; load the system again`,
  );

/** A worker whose script cannot be fetched reports an event without a message. */
function workerError({ message }: ErrorEvent): EngineError {
  return message
    ? new EngineError("internal", `the engine's worker failed: ${message}`)
    : new EngineError(
        "download",
        "the script of the engine's worker could not be loaded: it is missing on the server, incomplete or blocked; " +
          "reload the page, or upload the whole page again",
      );
}

function startWorker(): WorkerPort {
  return new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "recursivemas-engine" });
}

/** Stands for the root of a visitor's folder. Nothing is ever fetched from it. */
const FOLDER_URL = "https://folder.recursivemas.invalid/";

function absoluteUrl(url: string | URL, files: LocalFiles | undefined): string {
  try {
    // Node has no location; addresses are absolute there.
    return new URL(url, files ? FOLDER_URL : globalThis.location?.href).href;
  } catch (error) {
    throw new EngineError("download", `'${url}' is no valid address; correct it`, error);
  }
}

/**
 * Reads a manifest in the variant for this GPU, and loads nothing: enough to show what a system is and how big it is.
 *
 * @param url - of `system.json`, absolute or relative to the page.
 * @param files - a folder to read instead of the network; `url` is then a path in it.
 * @throws EngineError `download` or `bad-manifest`.
 */
export async function readSystem(
  url: string | URL,
  signal?: AbortSignal,
  files?: LocalFiles,
): Promise<System> {
  return await readManifest(absoluteUrl(url, files), { files, signal });
}

/**
 * Downloads, verifies and loads a built system on the GPU, in a worker of its own.
 *
 * @param url - of `system.json`, absolute or relative to the page (or worker) that calls.
 * @param port - the worker; tests pass their own.
 * @throws EngineError; nothing stays loaded then.
 */
export async function loadSystem(
  url: string | URL,
  options: LoadOptions = {},
  port: WorkerPort = startWorker(),
): Promise<SystemHandle> {
  const { signal, onProgress, ...settings } = options;
  const client = new Client(port);
  // Compiling shaders and uploading weights cannot be stopped, so the whole worker ends.
  const stop = (): void => client.end(new EngineError("cancelled", "cancelled while loading"));
  signal?.addEventListener("abort", stop, { once: true });
  let loaded: Loaded;
  try {
    const absolute = absoluteUrl(url, settings.files);
    loaded = await client.request("load", { url: absolute, settings }, { signal, onProgress });
  } catch (error) {
    client.end(EngineError.from(error));
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
  return {
    system: loaded.system,
    device: loaded.device,
    questions: loaded.questions,
    lost: client.lost,
    run: (run, { signal, onEvent, onProgress } = {}) =>
      client.request("run", run, { signal, onEvent, onProgress }),
    turn: (request, { signal, onEvent, onProgress } = {}) =>
      client.request("turn", request, { signal, onEvent, onProgress }),
    paces: (stop) => client.request("paces", null, { signal: stop }),
    counters: () => client.request("counters", null),
    dispose: async () => {
      try {
        return await within(STOP_MS, client.request("dispose", null), deaf);
      } finally {
        client.end(new EngineError("busy", "the system was disposed; load it again"));
      }
    },
  };
}
