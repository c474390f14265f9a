/**
 * An empty page through which the browser tests and `make bench` call the engine. It is not part of the shipped build.
 *
 * `window.harness` takes and gives only JSON. An error is `{ error: { code, message } }`.
 */
import {
  type Counters,
  EngineError,
  type LiveCounts,
  type LoadProgress,
  loadSystem,
  type RunEvent,
  type RunOptions,
  type RunResult,
  type SystemHandle,
} from "../../src/engine/api";
import { lookAt } from "./finite";
import type { HostRun } from "./host-links";

/** A result or an error. */
type Outcome<T> = T | { readonly error: { readonly code: string; readonly message: string } };

let handle: SystemHandle | undefined;
/** The URL of the loaded system's manifest. */
let manifest = "";
/** Started by the first run whose links run in JavaScript. */
let hostLinked: Worker | undefined;

/** Turns typed arrays into lists, which JSON can carry. */
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

/** Cancels a run after `count` events of a kind. */
interface CancelRule {
  readonly kind: RunEvent["kind"];
  readonly count: number;
}

/** Loads the system a second time, for a run whose links run in JavaScript. */
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
  load: (url: string, cache: boolean, oneByOne = false, fewCalls = true) =>
    outcome(async () => {
      const progress: LoadProgress[] = [];
      manifest = new URL(url, location.href).href;
      handle = await loadSystem(url, {
        cache,
        oneByOne,
        fewCalls,
        onProgress: (each) => progress.push(each),
      });
      return {
        device: handle.device,
        questions: handle.questions,
        progress,
        counters: await handle.counters(),
      };
    }),

  /** `handoff` says where the links run: compiled on the GPU (default), or in JavaScript for comparison. */
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

  /** Cancels a load at the first progress of a phase. Gives the error's code and counts the progress after it. */
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

  /** Looks for NaN and infinity in rows of numbers; see finite.ts. */
  lookAt: (...rows: Parameters<typeof lookAt>) => outcome(() => lookAt(...rows)),

  /** Waits for the device to be lost. */
  lost: () => outcome((): Promise<never> => loaded().lost),

  counters: () => outcome((): Promise<Counters & LiveCounts> => loaded().counters()),

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
