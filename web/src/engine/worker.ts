/** The worker: holds one system, performs one run at a time, and sends errors as data. */
import { Engine } from "./engine";
import { EngineError } from "./errors";
import type { FromWorker, MethodName, Methods, ToWorker } from "./messages";

/** Answers the page's requests; `send` is `postMessage`. */
class Server {
  #engine: Engine | undefined;
  /** The requests that are being answered, by id. */
  readonly #running = new Map<number, AbortController>();

  constructor(private readonly send: (message: FromWorker) => void) {}

  async receive(message: ToWorker): Promise<void> {
    if (message.kind === "cancel") {
      this.#running.get(message.id)?.abort();
      return;
    }
    const { id } = message;
    const controller = new AbortController();
    try {
      if (this.#running.size > 0 && ["run", "turn", "paces", "load"].includes(message.kind)) {
        throw new EngineError("busy", "the engine is busy with another request; wait for it or cancel it");
      }
      this.#running.set(id, controller);
      const result = await this.#answer(message, controller.signal);
      this.send({ kind: "done", id, result });
    } catch (error) {
      this.send({ kind: "failed", id, error: EngineError.from(error).toWire() });
    } finally {
      this.#running.delete(id);
    }
  }

  async #answer(
    message: Exclude<ToWorker, { kind: "cancel" }>,
    signal: AbortSignal,
  ): Promise<Methods[MethodName]["result"]> {
    switch (message.kind) {
      case "load":
        return await this.#load(message.id, message.params, signal);
      case "run":
        return await this.#loaded.run(
          message.params,
          signal,
          (event) => this.send({ kind: "event", id: message.id, event }),
          (progress) => this.send({ kind: "progress", id: message.id, progress }),
        );
      case "turn":
        return await this.#loaded.turn(
          message.params,
          signal,
          (event) => this.send({ kind: "event", id: message.id, event }),
          (progress) => this.send({ kind: "progress", id: message.id, progress }),
        );
      case "paces":
        return await this.#loaded.paces(signal);
      case "counters":
        return this.#loaded.counters();
      case "dispose":
        return await this.#dispose(message.id);
    }
  }

  async #load(
    id: number,
    params: Methods["load"]["params"],
    signal: AbortSignal,
  ): Promise<Methods["load"]["result"]> {
    if (this.#engine) throw new EngineError("busy", "this engine already holds a system; dispose it first");
    const engine = await Engine.load(params.url, params.settings, signal, (progress) =>
      this.send({ kind: "progress", id, progress }),
    );
    this.#engine = engine;
    void engine.lost.then((error) => this.send({ kind: "lost", error: error.toWire() }));
    return {
      system: engine.system,
      device: engine.device,
      questions: engine.questions,
    };
  }

  /** Cancels all other requests, waits for them to end, then frees the GPU. */
  async #dispose(id: number): Promise<Methods["dispose"]["result"]> {
    const engine = this.#loaded;
    for (const [other, controller] of this.#running) if (other !== id) controller.abort();
    while ([...this.#running.keys()].some((other) => other !== id))
      await new Promise((resolve) => setTimeout(resolve, 1));
    this.#engine = undefined;
    engine.dispose();
    return engine.counters();
  }

  get #loaded(): Engine {
    if (!this.#engine) throw new EngineError("busy", "no system is loaded");
    return this.#engine;
  }
}

const scope = self as unknown as DedicatedWorkerGlobalScope;
const server = new Server((message) => scope.postMessage(message));
scope.onmessage = (event: MessageEvent<ToWorker>) => void server.receive(event.data);
