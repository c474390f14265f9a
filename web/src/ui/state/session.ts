/** Opens, loads and runs one system at a time. */
import { batch, signal } from "@preact/signals";
import {
  EngineError,
  type LoadProgress,
  type LocalFiles,
  type RunEvent,
  type RunHooks,
  type RunOptions,
  type RunResult,
  type System,
  type SystemHandle,
  type TaskQuestion,
  type TurnRequest,
  type TurnResult,
} from "../../engine/api";
import { type Catalog, UnknownSystemError } from "../model/catalog";
import { advanceLoading, type Loading, NOT_LOADING } from "../model/file-progress";
import { FOLDER, type Folder, FolderError, type ForeignLinks } from "../model/folder";
import { hasWords } from "../model/words";
import type { Backend } from "./backend";
import { type Problem, problemOf } from "./problems";
import type { Remembered } from "./remembered";
import { keepAwake } from "./sleep";

/**
 * `opening`: the manifest is being read. `unloaded`: the manifest is known, but nothing is loaded. `failed`: see
 * `problem`.
 */
export type Phase = "opening" | "unloaded" | "loading" | "ready" | "failed";

/** A text that can only be a system's name, because an address has a slash or ends in `.json`. */
const NAME = /^(?!.*\.json$)[\w.-]+$/;

/** Whether the server has no such file. */
function isMissing(error: unknown): boolean {
  return error instanceof EngineError && error.cause instanceof Response && error.cause.status === 404;
}

export class Session {
  readonly phase = signal<Phase>("opening");
  /** Empty when there is no list beside the page. */
  readonly catalog = signal<Catalog>([]);
  readonly system = signal<System | undefined>(undefined);
  readonly questions = signal<readonly TaskQuestion[]>([]);
  readonly loading = signal<Loading>(NOT_LOADING);
  readonly problem = signal<Problem | undefined>(undefined);
  readonly handle = signal<SystemHandle | undefined>(undefined);
  /** Whether something is running; the engine runs one thing at a time. */
  readonly busy = signal(false);
  /** GPU memory in use, as the engine last counted it. */
  readonly liveBytes = signal(0);
  /** Links that the visitor opened; they replace the system's own. */
  readonly links = signal<ForeignLinks | undefined>(undefined);
  /** Whether agents are loaded one after another, because together they may not fit. */
  readonly oneByOne = signal(false);
  /** What computes the agents from now on: the GPU, or the processor where there is none. */
  readonly runtime = signal<"webgpu" | "processor">("webgpu");
  /** Ids of the agents that this device holds; undefined: all. With none, nothing can be loaded. */
  readonly agents = signal<readonly string[] | undefined>(undefined);
  /** Answers questions with several devices, if this one leads others. */
  readonly shared = signal<SystemHandle["run"] | undefined>(undefined);
  /** Ms that a token takes here, by agent id; empty if it was not measured. */
  readonly paces = signal<Readonly<Record<string, number>>>({});
  /** What a run waits for: an agent that is loaded for its turn. */
  readonly entering = signal<LoadProgress | undefined>(undefined);
  /** Whether the tab was asleep during the last run, which makes its time meaningless. */
  readonly slept = signal(false);
  /** Folders that the visitor opened, by the address that stands for each. They live as long as the page. */
  readonly #folders = new Map<string, Folder>();
  #url = "";
  #files: LocalFiles | undefined;
  #opening = new AbortController();
  #loadController: AbortController | undefined;

  constructor(
    private readonly backend: Backend,
    private readonly remembered: Remembered,
  ) {}

  /** @returns the address that stands for a folder of the visitor's, for `open`. */
  addFolder(folder: Folder): string {
    const address = `${FOLDER}${folder.name}`;
    this.#folders.set(address, folder);
    return address;
  }

  /**
   * Uses other links for the open system's agents. If the agents are loaded or loading, loads them again.
   *
   * @param links - undefined: the system's own.
   *
   * @throws FolderError if no system is open.
   */
  async useLinks(links: ForeignLinks | undefined): Promise<void> {
    if (!this.system.value)
      throw new FolderError("links need an open system, and none is open; open a system first");
    const wanted = this.phase.value !== "unloaded";
    this.cancelLoading();
    batch(() => {
      this.links.value = links;
      this.problem.value = undefined;
    });
    if (wanted) await this.load();
  }

  /** Loads agents one after another from now on, or all together. Frees what is loaded. */
  async setOneByOne(oneByOne: boolean): Promise<void> {
    this.oneByOne.value = oneByOne;
    if (this.phase.value !== "ready") return;
    await this.unload();
    this.phase.value = "unloaded";
  }

  /** Loads the agents on the processor, because there is no GPU. */
  async useProcessor(): Promise<void> {
    batch(() => {
      this.runtime.value = "processor";
      this.oneByOne.value = false;
    });
    await this.load();
  }

  /** Loads only some agents from now on, or all again; see `agents`. What is loaded stays until `reload`. */
  hold(agents: readonly string[] | undefined): void {
    this.agents.value = agents;
  }

  /** Frees what is loaded, and loads what this device is to hold, if that is wanted. */
  async reload(load: boolean): Promise<void> {
    const { value: before } = this.phase;
    if (before === "opening" || before === "failed") return;
    await this.unload();
    this.phase.value = "unloaded";
    if (load) await this.load();
  }

  /** To be called when the tab was asleep. */
  noteSleep(): void {
    if (this.busy.value) this.slept.value = true;
  }

  /** @param url - of a system, its name in the list beside the page, or the address of a folder; empty: the first system of the list beside the page. */
  async open(url: string): Promise<void> {
    this.#opening.abort();
    this.#opening = new AbortController();
    const { signal: aborted } = this.#opening;
    await this.unload();
    if (aborted.aborted) return;
    batch(() => {
      this.phase.value = "opening";
      this.system.value = undefined;
      this.questions.value = [];
      this.problem.value = undefined;
      this.links.value = undefined;
    });
    this.#url = url;
    try {
      await this.#readCatalog(url === "", aborted);
      const target = this.#target(url);
      if (!target.files && !URL.canParse(target.url, document.baseURI))
        throw new UnknownSystemError(target.url, this.catalog.value);
      const system = await this.backend
        .readSystem(target.url, aborted, target.files)
        .catch((error: unknown) => {
          throw !target.files && isMissing(error)
            ? new UnknownSystemError(target.url, this.catalog.value)
            : error;
        });
      if (aborted.aborted) return;
      this.#url = target.files ? target.url : new URL(target.url, document.baseURI).href;
      this.#files = target.files;
      batch(() => {
        this.system.value = system;
        this.phase.value = "unloaded";
      });
    } catch (error) {
      if (aborted.aborted) return;
      this.phase.value = "failed";
      this.fail(error);
      return;
    }
    if (!this.#files && this.remembered.has(this.#url)) await this.load();
  }

  /** Where the manifest is: at a URL or in a folder of the visitor's. */
  #target(url: string): { url: string; files?: LocalFiles } {
    if (url === "") return { url: this.catalog.value[0]?.url ?? "systems/index.json" };
    if (!url.startsWith(FOLDER)) {
      const named = this.catalog.value.find(({ name }) => name === url);
      if (!named && NAME.test(url)) throw new UnknownSystemError(url, this.catalog.value);
      return { url: named?.url ?? url };
    }
    const folder = this.#folders.get(url);
    if (!folder)
      throw new FolderError(`the folder ${url.slice(FOLDER.length)} is not open in this page; drop it again`);
    return { url: folder.manifest, files: folder.files };
  }

  /** A missing list matters only if the system is to come from it. */
  async #readCatalog(needed: boolean, aborted: AbortSignal): Promise<void> {
    if (this.catalog.value.length > 0) return;
    try {
      this.catalog.value = await this.backend.readCatalog(aborted);
    } catch (error) {
      if (needed) throw error;
    }
  }

  /** Downloads and loads the open system. Never rejects; `phase` says how it went. */
  async load(): Promise<void> {
    const system = this.system.value;
    const agents = this.agents.value;
    if (this.phase.value === "loading" || !system || agents?.length === 0) return;
    const controller = new AbortController();
    const freed = this.unload();
    // Set before the first await, so that a second call finds this one under way.
    this.#loadController = controller;
    batch(() => {
      this.phase.value = "loading";
      this.problem.value = undefined;
      this.loading.value = NOT_LOADING;
    });
    await freed;
    if (controller.signal.aborted) return;
    try {
      const handle = await this.backend.loadSystem(this.#url, {
        // Exactly what the page shows: the server may have another build by now.
        system,
        signal: controller.signal,
        ...(this.#files ? { files: this.#files } : {}),
        ...(this.links.value ? { links: this.links.value.text } : {}),
        ...(this.oneByOne.value ? { oneByOne: true } : {}),
        ...(agents ? { agents } : {}),
        ...(this.runtime.value === "processor" ? { runtime: "processor" } : {}),
        onProgress: (progress) => {
          if (this.#loadController !== controller) return;
          this.loading.value = advanceLoading(this.loading.value, progress);
        },
      });
      const paces = await this.#measure(handle, controller.signal);
      if (controller.signal.aborted) {
        await handle.dispose();
        return;
      }
      if (!this.#files) this.remembered.add(this.#url);
      batch(() => {
        this.handle.value = handle;
        this.paces.value = paces;
        this.questions.value = handle.questions;
        this.phase.value = "ready";
      });
      handle.lost.catch((error: unknown) => {
        if (this.handle.value === handle) this.fail(error);
      });
      const { liveBytes } = await handle.counters();
      if (this.handle.value === handle) this.liveBytes.value = liveBytes;
    } catch (error) {
      if (this.#loadController === controller) this.fail(error);
    }
  }

  /** Measures how fast language models are here; tiny agents always are fast enough. */
  async #measure(handle: SystemHandle, stop: AbortSignal): Promise<Readonly<Record<string, number>>> {
    if (!hasWords(handle.system) || stop.aborted) return {};
    try {
      return await handle.paces(stop);
    } catch (error) {
      if (stop.aborted) return {};
      await handle.dispose().catch(() => {});
      throw error;
    }
  }

  cancelLoading(): void {
    this.#loadController?.abort();
    this.#loadController = undefined;
    if (this.phase.value === "loading") this.phase.value = "unloaded";
  }

  /** Frees the loaded system. */
  async unload(): Promise<void> {
    const handle = this.handle.value;
    this.cancelLoading();
    this.handle.value = undefined;
    this.paces.value = {};
    this.liveBytes.value = 0;
    try {
      await handle?.dispose();
    } catch {
      // A lost device cannot free anything, but its memory is free anyway.
    }
  }

  /**
   * Runs one question on the loaded system.
   *
   * @throws EngineError; `Job` shows it.
   */
  async run(
    options: RunOptions,
    hooks: { signal?: AbortSignal; onEvent?: (event: RunEvent) => void } = {},
  ): Promise<RunResult> {
    const handle = this.handle.value;
    if (!handle || this.busy.value) throw new EngineError("busy", "the system is not ready for another run");
    if (this.agents.value && !this.shared.value) {
      throw new EngineError(
        "busy",
        "this device holds only some of the agents; ask on the device that leads, or leave it in the Devices view",
      );
    }
    batch(() => {
      this.busy.value = true;
      this.slept.value = false;
      this.problem.value = undefined;
    });
    try {
      const onProgress = (progress: LoadProgress): void => {
        this.entering.value = progress.fraction < 1 ? progress : undefined;
      };
      const { value: shared } = this.shared;
      const perform = shared ?? handle.run;
      const result = await keepAwake(() => perform(options, { ...hooks, onProgress }));
      if (!shared) this.liveBytes.value = result.counters.liveBytes;
      return result;
    } finally {
      batch(() => {
        this.busy.value = false;
        this.entering.value = undefined;
      });
    }
  }

  /**
   * Takes one turn of a run that another device leads, or that this one leads with others.
   *
   * @throws EngineError; a fatal one is shown here, too.
   */
  async turn(request: TurnRequest, hooks: RunHooks = {}): Promise<TurnResult> {
    const handle = this.handle.value;
    if (!handle) throw new EngineError("busy", "this device has not loaded its agents");
    try {
      return await keepAwake(() => handle.turn(request, hooks));
    } catch (error) {
      if (problemOf(error)?.fatal) this.fail(error);
      throw error;
    }
  }

  /** Shows a problem. After a fatal one the system must be loaded again. A cancellation is not a problem. */
  fail(thrown: unknown): void {
    const problem = problemOf(thrown);
    if (!problem) {
      if (this.phase.value === "loading") this.phase.value = "unloaded";
      return;
    }
    batch(() => {
      this.problem.value = problem;
      if (!problem.fatal) return;
      const handle = this.handle.value;
      this.handle.value = undefined;
      this.phase.value = "failed";
      this.loading.value = NOT_LOADING;
      handle?.dispose().catch(() => {});
    });
  }

  dismissProblem(): void {
    this.problem.value = undefined;
  }

  /** Repeats what failed: reading the manifest or loading. A mended system has another manifest, which is read anew. */
  async tryAgain(): Promise<void> {
    const shown = this.system.value;
    if (!shown) return await this.open(this.#url);
    const { signal: aborted } = this.#opening;
    try {
      const system = await this.backend.readSystem(this.#url, aborted, this.#files);
      // Something else may have been opened, or loaded, meanwhile.
      if (aborted.aborted || this.system.value !== shown || this.phase.value === "loading") return;
      this.system.value = system;
    } catch (error) {
      if (!aborted.aborted) this.fail(error);
      return;
    }
    await this.load();
  }
}
