/**
 * The agents of a system on one GPU device: all of them at once, or one after another.
 *
 * One after another, each checkpoint is loaded for its agents' turns and freed for the next one, so the GPU holds no
 * more than the largest. Agents that share a checkpoint share its weights either way.
 */
import { Agent, type AgentLinks } from "./agent";
import type { Artifacts } from "./artifacts";
import type { Gpu } from "./device";
import { EngineError } from "./errors";
import type { FiniteCheck } from "./finite";
import type { Link, Links } from "./links";
import { loadModel, type Model, packLink } from "./model";
import type { AgentSpec, System } from "./system";
import { Tokenizers } from "./tokenizers";

/** Called with the finished part of a phase of an agent's model, above 0 and up to 1. */
export type OnAgentModel = (agent: string, phase: "compile" | "upload", fraction: number) => void;

/** Above this, models share the memory of their calls. It is not free: bind groups are made anew in every turn. */
const MUCH_BYTES = 2 ** 31;

export class Ensemble {
  /** By path of the library. */
  #models = new Map<string, Model>();
  /** By id: those whose model is loaded. */
  #agents = new Map<string, Agent>();
  readonly #tokenizers: Tokenizers;
  /** The library of the agent that took the last turn. */
  #last: string | undefined;

  /**
   * @param resident - whether all agents stay on the GPU.
   * @param held - the agents that are loaded here at all.
   */
  constructor(
    private readonly gpu: Gpu,
    private readonly artifacts: Artifacts,
    private readonly system: System,
    private readonly links: Links,
    private readonly finite: FiniteCheck,
    readonly resident: boolean,
    private readonly held: readonly AgentSpec[],
  ) {
    this.#tokenizers = new Tokenizers(artifacts);
  }

  /** The agents that are on the GPU, by id. */
  get agents(): ReadonlyMap<string, Agent> {
    return this.#agents;
  }

  /** The agents whose model each library is, the first of them first. */
  get #byLibrary(): ReadonlyMap<string, readonly AgentSpec[]> {
    const groups = new Map<string, AgentSpec[]>();
    for (const spec of this.held) groups.set(spec.modelLib, [...(groups.get(spec.modelLib) ?? []), spec]);
    return groups;
  }

  /** The first agent of each model, which stands for it when loading is reported. */
  get heads(): readonly string[] {
    return [...this.#byLibrary.values()].flatMap(([first]) => (first ? [first.id] : []));
  }

  /**
   * Loads all models at once, because compiling shaders takes the time, and browsers compile in parallel.
   *
   * @throws EngineError; `dispose` frees what was loaded.
   */
  async loadAll(onModel: OnAgentModel): Promise<void> {
    const outcomes = await Promise.allSettled(
      [...this.#byLibrary.keys()].map((library) => this.#load(library, onModel)),
    );
    const failed = outcomes.find((each) => each.status === "rejected");
    if (failed) throw failed.reason;
    for (const library of this.#byLibrary.keys()) await this.#createAgents(library);
  }

  /**
   * Gives an agent for its turn. If agents are not resident, frees the others first; if they are and need much memory,
   * the model of the turn before frees what its calls use, so that only one model has such memory.
   */
  async enter(id: string, onModel: OnAgentModel): Promise<Agent> {
    const here = this.#agents.get(id);
    if (here) {
      const { modelLib } = here.spec;
      const { liveBytes } = this.gpu.counters.snapshot();
      if (this.#last !== modelLib && liveBytes > MUCH_BYTES)
        this.#models.get(this.#last ?? "")?.runtime.releaseScratch();
      this.#last = modelLib;
      return here;
    }
    const spec = this.held.find((each) => each.id === id);
    if (!spec)
      throw new EngineError("bad-option", `agent '${id}' is not loaded here; load the system with it`);
    this.dispose();
    await this.#load(spec.modelLib, onModel);
    await this.#createAgents(spec.modelLib);
    return this.#agents.get(id) as Agent;
  }

  /** Frees all models. */
  dispose(): void {
    for (const model of this.#models.values()) model.runtime.dispose();
    this.#models.clear();
    this.#agents.clear();
  }

  async #load(library: string, onModel: OnAgentModel): Promise<void> {
    const specs = this.#byLibrary.get(library) ?? [];
    const [spec] = specs;
    if (!spec) throw new EngineError("internal", `no agent has the library ${library}`);
    const report = (phase: "compile" | "upload", fraction: number): void => onModel(spec.id, phase, fraction);
    const { gpu, artifacts, links } = this;
    const model = await loadModel(gpu, artifacts, spec, links.variant, specs.length, report);
    this.#models.set(library, model);
  }

  /** Creates the agents of a loaded model with their tokenizers and links. */
  async #createAgents(library: string): Promise<void> {
    const model = this.#models.get(library);
    if (!model) throw new EngineError("internal", `no model was loaded for ${library}`);
    for (const [sequence, spec] of (this.#byLibrary.get(library) ?? []).entries()) {
      const tokenizer = await this.#tokenizers.of(spec);
      const links = packLinks(model, spec, this.system, this.links);
      this.#agents.set(spec.id, new Agent(spec, tokenizer, model, links, this.finite, sequence));
      await model.runtime.sync();
    }
  }
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
