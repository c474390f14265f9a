/**
 * A page without a page: it lets the browser tests and `make bench` call the engine. Not part of the shipped build.
 *
 * Everything that `window.harness` takes and gives is JSON, errors too: `{ error: { code, message } }`.
 */
import {
  type Counters,
  EngineError,
  type LoadProgress,
  loadSystem,
  type RunEvent,
  type RunOptions,
  type RunResult,
  type SystemHandle,
} from "../../src/engine/api";
import type { HostRun } from "./host-links";

/** A result, or how it failed. */
type Outcome<T> = T | { readonly error: { readonly code: string; readonly message: string } };

let handle: SystemHandle | undefined;
/** Where the loaded system's manifest is. */
let manifest = "";
/** Made by the first run whose links are to run in JavaScript. */
let hostLinked: Worker | undefined;

/** Typed arrays as lists, so that JSON can carry them. */
function plain<T>(value: T): T {
  return JSON.parse(JSON.stringify(value, (_, each) => (each instanceof Float32Array ? [...each] : each)));
}

async function outcome<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return plain(await work());
  } catch (error) {
    const { code, message } = EngineError.from(error);
    return { error: { code, message } };
  }
}

function loaded(): SystemHandle {
  if (!handle) throw new EngineError("busy", "load a system first");
  return handle;
}

/** Cancels a run after so many events of a kind. */
interface CancelRule {
  readonly kind: RunEvent["kind"];
  readonly count: number;
}

/** Runs on a second load of the system, whose links run in JavaScript. */
function runOnHostLinks(options: RunOptions): Promise<HostRun> {
  hostLinked ??= new Worker(new URL("./host-links-worker.ts", import.meta.url), { type: "module" });
  const worker = hostLinked;
  return new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Error(event.message));
    worker.onmessage = ({ data }) =>
      data.error ? reject(EngineError.fromWire(data.error)) : resolve(data.result);
    worker.postMessage({ url: manifest, options });
  });
}

const harness = {
  load: (url: string, cache: boolean) =>
    outcome(async () => {
      const progress: LoadProgress[] = [];
      manifest = new URL(url, location.href).href;
      handle = await loadSystem(url, {
        cache,
        onProgress: (each) => progress.push(each),
      });
      return {
        device: handle.device,
        questions: handle.questions,
        progress,
        counters: await handle.counters(),
      };
    }),

  /** `handoff` says where links run: compiled on the GPU, or in JavaScript to compare with. */
  run: (
    { handoff, ...options }: RunOptions & { readonly handoff?: "gpu" | "javascript" },
    cancel?: CancelRule,
  ) =>
    outcome(async (): Promise<HostRun | (RunResult & { readonly events: readonly RunEvent[] })> => {
      if (handoff === "javascript") return await runOnHostLinks(options);
      const events: RunEvent[] = [];
      const controller = new AbortController();
      const onEvent = (event: RunEvent): void => {
        events.push(event);
        if (cancel && events.filter((each) => each.kind === cancel.kind).length === cancel.count)
          controller.abort();
      };
      const result = await loaded().run(options, { signal: controller.signal, onEvent });
      return { ...result, events };
    }),

  /** Cancels a load at the first progress of a phase; tells how it failed and how much progress came after. */
  cancelLoad: (url: string, phase: LoadProgress["phase"]) =>
    outcome(async () => {
      const controller = new AbortController();
      let late = 0;
      const onProgress = (progress: LoadProgress): void => {
        if (controller.signal.aborted) late += 1;
        else if (progress.phase === phase) controller.abort();
      };
      const load = loadSystem(url, { cache: false, signal: controller.signal, onProgress });
      const code = await load.then(
        () => "none",
        (error: unknown) => EngineError.from(error).code,
      );
      return { code, late };
    }),

  /** Waits for the device to be lost. */
  lost: () => outcome((): Promise<never> => loaded().lost),

  counters: () => outcome((): Promise<Counters> => loaded().counters()),

  dispose: () =>
    outcome(async (): Promise<Counters> => {
      const counters = await loaded().dispose();
      handle = undefined;
      hostLinked?.terminate();
      hostLinked = undefined;
      return counters;
    }),
};

declare global {
  interface Window {
    harness: typeof harness;
  }
}

window.harness = harness;
