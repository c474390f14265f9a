/** Loads a whole system on one GPU device, or on the processor, runs it, and frees it. */
import { Artifacts, type OnBytes } from "./artifacts";
import { type Gpu, openDevice } from "./device";
import { Ensemble, type OnAgentModel } from "./ensemble";
import { EngineError, throwIfCancelled } from "./errors";
import { FiniteCheck } from "./finite";
import { openCache } from "./kept";
import { parseLinks } from "./links";
import { fetchLocal } from "./local-files";
import { readManifest } from "./manifest";
import type { LoadSettings } from "./messages";
import { paceOf } from "./pace";
import type { Performer } from "./performer";
import { configFile, Processor, ProcessorEnsemble } from "./processor/processor";
import { LoadReporter, modelLabel } from "./progress";
import { parseQuestions } from "./questions";
import { performTurn, runSystem, type Stage } from "./recursion";
import type { AgentSpec, System } from "./system";
import { createTick } from "./tick";
import { tokenizerFiles } from "./tokenizers";
import type {
  Counters,
  DeviceInfo,
  LiveCounts,
  LoadProgress,
  RunEvent,
  RunOptions,
  RunResult,
  TaskQuestion,
  TurnRequest,
  TurnResult,
} from "./types";
import { weightFiles } from "./weights";

/** A loaded system. */
export class Engine {
  #disposed = false;
  readonly #tick = createTick();

  private constructor(
    readonly system: System,
    readonly questions: readonly TaskQuestion[],
    private readonly gpu: Gpu | Processor,
    private readonly finite: FiniteCheck | undefined,
    private readonly ensemble: Ensemble | ProcessorEnsemble,
  ) {}

  /**
   * Downloads, verifies and loads everything.
   *
   * @param url - absolute, of `system.json`.
   * @throws EngineError; all GPU memory is freed then.
   */
  static async load(
    url: string,
    settings: LoadSettings,
    signal: AbortSignal | undefined,
    onProgress: (progress: LoadProgress) => void,
  ): Promise<Engine> {
    const reporter = new LoadReporter(onProgress);
    reporter.manifest(url);
    const reach = settings.files ? fetchLocal(settings.files, url) : fetch;
    const system = settings.system ?? (await readManifest(url, { ...settings, signal }));
    const gpu = await openPlace(system, settings);
    let ensemble: Ensemble | ProcessorEnsemble | undefined;
    try {
      const cache = await openCache((settings.cache ?? true) && !settings.files);
      const sources = { fetch: reach, cache, atHand: settings.files !== undefined, owner: system.name };
      const stop = new AbortController();
      const both = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
      const artifacts = new Artifacts(url, system.files, sources, both);
      const held = heldAgents(system, settings.agents);
      const finite = gpu instanceof Processor ? undefined : gpu.watch(() => new FiniteCheck(gpu.device));
      const resident = !settings.oneByOne;
      const load = async (): Promise<void> => {
        const linksText = settings.links ?? (await artifacts.readText(system.links));
        const links = parseLinks(linksText, system.agents, system.edges);
        ensemble =
          gpu instanceof Processor
            ? new ProcessorEnsemble(gpu, artifacts, system, links, held)
            : new Ensemble(gpu, artifacts, system, links, finite as FiniteCheck, resident, held);
        if (!resident) return;
        reporter.models(ensemble.heads);
        await ensemble.loadAll((agent, phase, fraction) => reporter.model(agent, phase, fraction));
      };
      const model = (agent: AgentSpec): string =>
        gpu instanceof Processor ? configFile(agent) : agent.modelLib;
      const paths = await listFiles(artifacts, system, held, model, reporter);
      const onBytes: OnBytes = (file, bytes, cached) => reporter.bytes(file.path, bytes, cached);
      // Models are loaded while their files arrive.
      await together([artifacts.downloadAll(paths, onBytes, resident), load()], () => stop.abort());
      throwIfCancelled(signal);
      if (!ensemble) throw new EngineError("internal", "no agents were loaded");
      const questions = system.task?.questions
        ? parseQuestions(await artifacts.readText(system.task.questions))
        : [];
      reporter.ready();
      return new Engine(system, questions, gpu, finite, ensemble);
    } catch (thrown) {
      const error = await gpu.explain(thrown);
      ensemble?.dispose();
      gpu.destroy();
      throw error;
    }
  }

  /** The agents that are loaded, by id. */
  get agents(): ReadonlyMap<string, Performer> {
    return this.ensemble.agents;
  }

  get device(): DeviceInfo {
    return this.gpu.info;
  }

  /** Resolves with the error if the device is lost while in use. */
  get lost(): Promise<EngineError> {
    return this.gpu.lost;
  }

  /** Counts since the device was opened. */
  counters(): Counters & LiveCounts {
    const { counters } = this.gpu;
    return { ...counters.snapshot(), ...counters.live() };
  }

  /**
   * Answers one question.
   *
   * @param onProgress - told of agents that are loaded for their turns.
   * @throws EngineError
   */
  async run(
    options: RunOptions,
    signal: AbortSignal | undefined,
    onEvent: (event: RunEvent) => void,
    onProgress: (progress: LoadProgress) => void,
  ): Promise<RunResult> {
    return await this.#perform(onProgress, (stage) => runSystem(stage, options, { signal, onEvent }));
  }

  /**
   * Performs one turn of a run whose other turns are taken elsewhere.
   *
   * @throws EngineError
   */
  async turn(
    request: TurnRequest,
    signal: AbortSignal | undefined,
    onEvent: (event: RunEvent) => void,
    onProgress: (progress: LoadProgress) => void,
  ): Promise<TurnResult> {
    return await this.#perform(onProgress, (stage) => performTurn(stage, request, { signal, onEvent }));
  }

  async #perform<T>(
    onProgress: (progress: LoadProgress) => void,
    work: (stage: Stage) => Promise<T>,
  ): Promise<T> {
    this.gpu.check();
    const onModel: OnAgentModel = (agent, phase, fraction) =>
      onProgress({
        phase,
        label: modelLabel(agent, phase),
        loadedBytes: 0,
        totalBytes: 0,
        cachedBytes: 0,
        fraction,
      });
    const stage = {
      system: this.system,
      enter: (id: string) => this.ensemble.enter(id, onModel),
      resident: this.ensemble.resident,
      counters: this.gpu.counters,
      tick: this.#tick.wait,
      now: () => performance.now(),
      fetch: (url: string, init?: RequestInit) => fetch(url, init),
    };
    this.gpu.watch(() => this.finite?.restart());
    try {
      return await work(stage);
    } catch (error) {
      for (const agent of this.agents.values()) agent.forget();
      throw await this.gpu.explain(error);
    }
  }

  /**
   * Times every agent that is on the GPU; those that share a model are timed once.
   *
   * @returns ms that a token takes, by agent id.
   * @throws EngineError
   */
  async paces(signal: AbortSignal | undefined): Promise<Readonly<Record<string, number>>> {
    this.gpu.check();
    this.gpu.watch(() => this.finite?.restart());
    const byLibrary = new Map<string, number>();
    try {
      for (const agent of this.agents.values()) {
        const { modelLib } = agent.spec;
        if (byLibrary.has(modelLib)) continue;
        byLibrary.set(modelLib, await paceOf(agent, () => performance.now()));
        throwIfCancelled(signal);
      }
    } catch (error) {
      throw await this.gpu.explain(error);
    }
    return Object.fromEntries(
      this.system.agents.flatMap(({ id, modelLib }) => {
        const pace = byLibrary.get(modelLib);
        return pace === undefined ? [] : [[id, pace]];
      }),
    );
  }

  /** Frees all GPU memory and destroys the device. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#tick.close();
    this.finite?.dispose();
    this.ensemble.dispose();
    this.gpu.destroy();
  }
}

/**
 * Opens what the agents compute on. This fails before anything big is downloaded, if it cannot run the system.
 *
 * @throws EngineError `bad-option`, or as `openDevice`.
 */
async function openPlace(system: System, settings: LoadSettings): Promise<Gpu | Processor> {
  const { runtime = "webgpu", oneByOne } = settings;
  if (runtime === "webgpu") return await openDevice(navigator.gpu, system, settings);
  if (runtime !== "processor")
    throw new EngineError("bad-option", `runtime must be webgpu or processor, got ${String(runtime)}`);
  if (oneByOne)
    throw new EngineError("bad-option", "oneByOne saves GPU memory; leave it out with runtime 'processor'");
  return new Processor(system);
}

/** The agents to load. */
function heldAgents({ agents }: System, wanted: readonly string[] | undefined): readonly AgentSpec[] {
  const unknown = wanted?.find((id) => !agents.some((agent) => agent.id === id));
  if (unknown !== undefined || wanted?.length === 0) {
    const known = agents.map(({ id }) => id).join(", ");
    throw new EngineError("bad-option", `agents must name some of ${known}, got ${unknown ?? "none"}`);
  }
  return agents.filter(({ id }) => wanted?.includes(id) ?? true);
}

/** Waits for everything. @throws the first failure, after `stop` and the end of the rest. */
async function together(work: readonly Promise<void>[], stop: () => void): Promise<void> {
  const failures: unknown[] = [];
  const watched = work.map((each) =>
    each.catch((error: unknown) => {
      failures.push(error);
      stop();
    }),
  );
  await Promise.all(watched);
  if (failures.length > 0) throw failures[0];
}

/**
 * Downloads the indexes, because they name the shards.
 *
 * @param model - the file that describes an agent's model to what computes it.
 * @returns the files to download, what models need first in front.
 */
async function listFiles(
  artifacts: Artifacts,
  system: System,
  held: readonly AgentSpec[],
  model: (agent: AgentSpec) => string,
  reporter: LoadReporter,
): Promise<readonly string[]> {
  const unique = (paths: readonly string[]): string[] => [...new Set(paths)];
  const folders = [...new Map(held.map((agent) => [agent.path, agent])).values()];
  const indexes = folders.map((agent) => `${agent.path}tensor-cache.json`);
  await artifacts.downloadAll(indexes, () => {}, true);
  const shards = await Promise.all(folders.map((agent) => weightFiles(artifacts, agent)));
  const paths = unique([
    system.links,
    ...(system.task?.questions ? [system.task.questions] : []),
    ...held.flatMap((agent) => [model(agent), ...tokenizerFiles(artifacts, agent)]),
    ...shards.flat(),
  ]);
  const sizes = new Map(system.files.map((file) => [file.path, file.sizeBytes]));
  reporter.download(paths.reduce((sum, path) => sum + (sizes.get(path) ?? 0), 0));
  return paths;
}
