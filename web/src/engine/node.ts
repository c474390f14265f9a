/**
 * Runs the engine in Node, on the WebGPU of the package `webgpu` or of another one that follows the standard.
 *
 * The engine's worker then runs in the thread that asks: Node has no web workers, and waiting for the GPU blocks nothing.
 */
import { EngineError, type WorkerPort } from "./api";
import type { FromWorker, ToWorker } from "./messages";

/** The worker's global scope, as far as it uses it. */
interface Scope {
  self?: unknown;
  __dirname?: string;
  postMessage?: (message: FromWorker) => void;
  onmessage?: ((event: { data: ToWorker }) => void) | null;
}

let running = false;
let started = 0;

/**
 * Stands for the engine's worker; the third argument of `loadSystem`.
 *
 * @param gpu - what `navigator.gpu` is in a browser.
 * @param globals - WebGPU's global names, such as `GPUBufferUsage`; the package `webgpu` exports them.
 * @throws EngineError `busy` while another system is loaded in this process; dispose it first.
 */
export async function inThisProcess(gpu: object, globals: object): Promise<WorkerPort> {
  if (running)
    throw new EngineError("busy", "one system at a time runs in a process; dispose the other one first");
  running = true;
  const scope = globalThis as Scope;
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });
  const port: WorkerPort = {
    onmessage: null,
    onerror: null,
    postMessage: (message) => scope.onmessage?.({ data: message }),
    terminate: () => {
      running = false;
      scope.onmessage = null;
    },
  };
  scope.self = globalThis;
  // The model libraries ask for it in Node, although they read no file.
  scope.__dirname ??= "";
  scope.postMessage = (message) => port.onmessage?.({ data: message } as MessageEvent<FromWorker>);
  try {
    // The package's built worker. The query makes Node run the module anew for every system.
    const { url } = import.meta;
    const worker = new URL("./worker.js", url);
    worker.search = String(started++);
    await import(/* @vite-ignore */ worker.href);
  } catch (error) {
    running = false;
    throw error;
  }
  return port;
}
