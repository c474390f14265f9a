/** Loads a whole system on one GPU device, runs it, and frees it. */
import { Agent, type AgentLinks } from "./agent";
import { Artifacts } from "./artifacts";
import { type Gpu, openDevice } from "./device";
import { fetchText } from "./download";
import { EngineError, throwIfCancelled } from "./errors";
import { FiniteCheck } from "./finite";
import { openCache } from "./kept";
import { type Link, type Links, parseLinks, type Variant } from "./links";
import { fetchLocal } from "./local-files";
import type { LoadSettings } from "./messages";
import { loadModel, type Model, packLink } from "./model";
import { LoadReporter } from "./progress";
import { parseQuestions } from "./questions";
import { runSystem } from "./recursion";
import { type AgentSpec, parseSystem, type System } from "./system";
import { createTick } from "./tick";
import { loadTokenizer } from "./tokenizer";
import type {
  Counters,
  DeviceInfo,
  LoadProgress,
  RunEvent,
  RunOptions,
  RunResult,
  TaskQuestion,
} from "./types";
import { variantFor } from "./variants";
import { weightFiles } from "./weights";

/** A loaded system. */
export class Engine {
  #disposed = false;
  readonly #tick = createTick();

  private constructor(
    readonly system: System,
    readonly questions: readonly TaskQuestion[],
    private readonly gpu: Gpu,
    private readonly finite: FiniteCheck,
    private readonly models: readonly Model[],
    /** By id. */
    readonly agents: ReadonlyMap<string, Agent>,
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
    const whole = parseSystem(await fetchText(url, signal, reach), url);
    const system = await variantFor(whole, navigator.gpu, settings.powerPreference);
    // This fails before anything big is downloaded, if the browser cannot run the system.
    const gpu = await openDevice(navigator.gpu, system, settings.powerPreference);
    let models: ReadonlyMap<string, Model> = new Map();
    try {
      const cache = await openCache((settings.cache ?? true) && !settings.files);
      const sources = { fetch: reach, cache, atHand: settings.files !== undefined, owner: system.name };
      const artifacts = new Artifacts(url, system.files, sources, signal);
      await download(artifacts, system, reporter);
      const linksText = settings.links ?? (await artifacts.readText(system.links));
      const links = parseLinks(linksText, system.agents, system.edges);
      models = await loadModels(gpu, artifacts, system, links.variant, reporter);
      throwIfCancelled(signal);
      const finite = gpu.watch(() => new FiniteCheck(gpu.device));
      const agents = await createAgents(artifacts, system, links, models, finite);
      const questions = system.task?.questions
        ? parseQuestions(await artifacts.readText(system.task.questions))
        : [];
      reporter.ready();
      return new Engine(system, questions, gpu, finite, [...models.values()], agents);
    } catch (thrown) {
      const error = await gpu.explain(thrown);
      for (const model of models.values()) model.runtime.dispose();
      gpu.destroy();
      throw error;
    }
  }

  get device(): DeviceInfo {
    return this.gpu.info;
  }

  /** Resolves with the error if the device is lost while in use. */
  get lost(): Promise<EngineError> {
    return this.gpu.lost;
  }

  /** Counts since the device was opened. */
  counters(): Counters {
    return this.gpu.counters.snapshot();
  }

  /**
   * Answers one question.
   *
   * @throws EngineError
   */
  async run(
    options: RunOptions,
    signal: AbortSignal | undefined,
    onEvent: (event: RunEvent) => void,
  ): Promise<RunResult> {
    this.gpu.check();
    const stage = {
      system: this.system,
      agents: this.agents,
      counters: this.gpu.counters,
      tick: this.#tick.wait,
      now: () => performance.now(),
      fetch: (url: string, init?: RequestInit) => fetch(url, init),
    };
    this.gpu.watch(() => this.finite.restart());
    try {
      return await runSystem(stage, options, { signal, onEvent });
    } catch (error) {
      throw await this.gpu.explain(error);
    }
  }

  /** Frees all GPU memory and destroys the device. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#tick.close();
    this.finite.dispose();
    for (const model of this.models) model.runtime.dispose();
    this.gpu.destroy();
  }
}

/** Downloads the indexes first, because they name the shards; then all other files. */
async function download(artifacts: Artifacts, system: System, reporter: LoadReporter): Promise<void> {
  const unique = (paths: readonly string[]): string[] => [...new Set(paths)];
  const indexes = unique(system.agents.map((agent) => `${agent.path}tensor-cache.json`));
  await artifacts.downloadAll(indexes, () => {});
  const shards = await Promise.all(system.agents.map((agent) => weightFiles(artifacts, agent)));
  const paths = unique([
    system.links,
    ...(system.task?.questions ? [system.task.questions] : []),
    ...system.agents.flatMap((agent) => [agent.modelLib, ...tokenizerFiles(artifacts, agent)]),
    ...shards.flat(),
  ]);
  const sizes = new Map(system.files.map((file) => [file.path, file.sizeBytes]));
  reporter.download(paths.reduce((sum, path) => sum + (sizes.get(path) ?? 0), 0));
  await artifacts.downloadAll(paths, (file, bytes, cached) => reporter.bytes(file.path, bytes, cached));
}

function tokenizerFiles(artifacts: Artifacts, agent: AgentSpec): string[] {
  return [`${agent.path}tokenizer.json`, `${agent.path}tokenizer_config.json`].filter((path) =>
    artifacts.has(path),
  );
}

/** Loads all models at once, because compiling shaders takes the time, and browsers compile in parallel. */
async function loadModels(
  gpu: Gpu,
  artifacts: Artifacts,
  system: System,
  variant: Variant,
  reporter: LoadReporter,
): Promise<ReadonlyMap<string, Model>> {
  const specs = new Map(system.agents.map((spec) => [spec.modelLib, spec]));
  reporter.models([...specs.values()].map((spec) => spec.id));
  const loading = [...specs].map(async ([library, spec]): Promise<[string, Model]> => {
    const model = await loadModel(gpu, artifacts, spec, variant, (phase, fraction) =>
      reporter.model(spec.id, phase, fraction),
    );
    return [library, model];
  });
  const outcomes = await Promise.allSettled(loading);
  const failed = outcomes.find((each) => each.status === "rejected");
  if (failed) {
    for (const each of outcomes) if (each.status === "fulfilled") each.value[1].runtime.dispose();
    throw failed.reason;
  }
  return new Map(outcomes.flatMap((each) => (each.status === "fulfilled" ? [each.value] : [])));
}

/** Creates the agents with their tokenizers and links. Agents of the same library share a model. */
async function createAgents(
  artifacts: Artifacts,
  system: System,
  links: Links,
  models: ReadonlyMap<string, Model>,
  finite: FiniteCheck,
): Promise<ReadonlyMap<string, Agent>> {
  const agents = new Map<string, Agent>();
  for (const spec of system.agents) {
    const model = models.get(spec.modelLib);
    if (!model) throw new EngineError("internal", `no model was loaded for ${spec.modelLib}`);
    const files = tokenizerFiles(artifacts, spec);
    const [tokenizerJson, configJson] = await Promise.all(files.map((path) => artifacts.readText(path)));
    const tokenizer = loadTokenizer(tokenizerJson ?? "", configJson, spec.id);
    const ownLinks = packLinks(model, spec, system, links);
    agents.set(spec.id, new Agent(spec, tokenizer, model, ownLinks, finite));
    await model.runtime.sync();
  }
  return agents;
}

function packLinks(model: Model, spec: AgentSpec, system: System, links: Links): AgentLinks {
  const pack = (link: Link | undefined, name: string) => {
    if (!link) throw new EngineError("bad-links", `there is no link '${name}'`);
    return packLink(model.runtime, link.tensors);
  };
  const outgoing = system.edges.filter((edge) => edge.from === spec.id);
  return {
    inner: pack(links.inner.get(spec.id), spec.id),
    outer: new Map(outgoing.map((edge) => [edge.id, pack(links.outer.get(edge.id), edge.id)])),
  };
}
