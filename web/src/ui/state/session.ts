/** Which system is open, whether it is loaded, and the one way to run it. */
import { batch, type ReadonlySignal, signal } from "@preact/signals";
import {
  EngineError,
  type RunEvent,
  type RunOptions,
  type RunResult,
  type System,
  type SystemHandle,
  type TaskQuestion,
} from "../../engine/api";
import type { Backend } from "../backend";
import type { Catalog } from "../catalog";
import { type Problem, problemOf } from "../lib/problems";
import { advanceLoading, type Loading, NOT_LOADING } from "./file-progress";
import type { Remembered } from "./remembered";

/**
 * `opening`: reading the manifest. `unloaded`: it is known how big the system is. `loading`, `ready`. `failed`: see
 * `problem`.
 */
export type Phase = "opening" | "unloaded" | "loading" | "ready" | "failed";

export class Session {
  readonly #phase = signal<Phase>("opening");
  readonly #catalog = signal<Catalog>([]);
  readonly #system = signal<System | undefined>(undefined);
  readonly #questions = signal<readonly TaskQuestion[]>([]);
  readonly #loadingState = signal<Loading>(NOT_LOADING);
  readonly #problem = signal<Problem | undefined>(undefined);
  readonly #handle = signal<SystemHandle | undefined>(undefined);
  readonly #busy = signal(false);
  readonly #liveBytes = signal(0);
  #url = "";
  #opening = new AbortController();
  #loadController: AbortController | undefined;

  constructor(
    private readonly backend: Backend,
    private readonly remembered: Remembered,
  ) {}

  get phase(): ReadonlySignal<Phase> {
    return this.#phase;
  }
  /** Empty when there is no list beside the page. */
  get catalog(): ReadonlySignal<Catalog> {
    return this.#catalog;
  }
  get system(): ReadonlySignal<System | undefined> {
    return this.#system;
  }
  get questions(): ReadonlySignal<readonly TaskQuestion[]> {
    return this.#questions;
  }
  get loading(): ReadonlySignal<Loading> {
    return this.#loadingState;
  }
  get problem(): ReadonlySignal<Problem | undefined> {
    return this.#problem;
  }
  get handle(): ReadonlySignal<SystemHandle | undefined> {
    return this.#handle;
  }
  /** Whether something runs; the engine runs one thing at a time. */
  get busy(): ReadonlySignal<boolean> {
    return this.#busy;
  }
  /** GPU memory held, as the engine counted last. */
  get liveBytes(): ReadonlySignal<number> {
    return this.#liveBytes;
  }

  /** Opens a system by its URL; without one, the first of the list beside the page. */
  async open(url: string): Promise<void> {
    this.#opening.abort();
    this.#opening = new AbortController();
    const { signal: aborted } = this.#opening;
    await this.unload();
    batch(() => {
      this.#phase.value = "opening";
      this.#system.value = undefined;
      this.#questions.value = [];
      this.#problem.value = undefined;
    });
    try {
      await this.#readCatalog(url === "", aborted);
      const first = this.#catalog.value[0]?.url ?? "systems/index.json";
      const target = url === "" ? first : url;
      const system = await this.backend.readSystem(target, aborted);
      if (aborted.aborted) return;
      this.#url = new URL(target, document.baseURI).href;
      batch(() => {
        this.#system.value = system;
        this.#phase.value = "unloaded";
      });
    } catch (error) {
      if (!aborted.aborted) this.fail(error);
      return;
    }
    if (this.remembered.has(this.#url)) await this.load();
  }

  /** A missing list matters only when the system is to be taken from it. */
  async #readCatalog(needed: boolean, aborted: AbortSignal): Promise<void> {
    if (this.#catalog.value.length > 0) return;
    try {
      this.#catalog.value = await this.backend.readCatalog(aborted);
    } catch (error) {
      if (needed) throw error;
    }
  }

  /** Downloads and loads the open system. Resolves in the end whatever happens; `phase` says what did. */
  async load(): Promise<void> {
    if (this.#phase.value === "loading" || !this.#system.value) return;
    await this.unload();
    const controller = new AbortController();
    this.#loadController = controller;
    batch(() => {
      this.#phase.value = "loading";
      this.#problem.value = undefined;
      this.#loadingState.value = NOT_LOADING;
    });
    try {
      const handle = await this.backend.loadSystem(this.#url, {
        signal: controller.signal,
        onProgress: (progress) => {
          this.#loadingState.value = advanceLoading(this.#loadingState.value, progress);
        },
      });
      if (controller.signal.aborted) {
        await handle.dispose();
        return;
      }
      this.remembered.add(this.#url);
      batch(() => {
        this.#handle.value = handle;
        this.#questions.value = handle.questions;
        this.#phase.value = "ready";
      });
      handle.lost.catch((error: unknown) => {
        if (this.#handle.value === handle) this.fail(error);
      });
      this.#liveBytes.value = (await handle.counters()).liveBytes;
    } catch (error) {
      if (this.#loadController === controller) this.fail(error);
    }
  }

  cancelLoading(): void {
    this.#loadController?.abort();
    this.#loadController = undefined;
    if (this.#phase.value === "loading") this.#phase.value = "unloaded";
  }

  /** Frees what is loaded. */
  async unload(): Promise<void> {
    const handle = this.#handle.value;
    this.cancelLoading();
    this.#handle.value = undefined;
    this.#liveBytes.value = 0;
    try {
      await handle?.dispose();
    } catch {
      // A lost device cannot free anything, and its memory is gone with it.
    }
  }

  /**
   * Runs one question on the loaded system.
   *
   * @throws EngineError; anything but a cancellation is also shown as `problem`.
   */
  async run(
    options: RunOptions,
    hooks: { signal?: AbortSignal; onEvent?: (event: RunEvent) => void } = {},
  ): Promise<RunResult> {
    const handle = this.#handle.value;
    if (!handle || this.#busy.value) throw new EngineError("busy", "the system is not ready for another run");
    batch(() => {
      this.#busy.value = true;
      this.#problem.value = undefined;
    });
    try {
      const result = await handle.run(options, hooks);
      this.#liveBytes.value = result.counters.liveBytes;
      return result;
    } catch (error) {
      this.fail(error);
      throw error;
    } finally {
      this.#busy.value = false;
    }
  }

  /** Shows a problem; after one that the system cannot survive, it must be loaded again. */
  fail(thrown: unknown): void {
    const problem = problemOf(thrown);
    if (!problem) {
      if (this.#phase.value === "loading") this.#phase.value = "unloaded";
      return;
    }
    batch(() => {
      this.#problem.value = problem;
      if (!problem.fatal) return;
      const handle = this.#handle.value;
      this.#handle.value = undefined;
      this.#phase.value = "failed";
      this.#loadingState.value = NOT_LOADING;
      handle?.dispose().catch(() => {});
    });
  }

  dismissProblem(): void {
    this.#problem.value = undefined;
  }

  /** Does again what failed: reading the manifest, or loading. */
  async tryAgain(): Promise<void> {
    if (this.#system.value) await this.load();
    else await this.open(this.#url);
  }
}
