/**
 * The processor in the place of a GPU: for visitors without WebGPU, and systems small enough to be watched there.
 *
 * Source: docs/engine.md, "Without a GPU". Weights, tokenizers and links are the files that the GPU gets; the compiled
 * libraries are left alone.
 */
import type { Artifacts } from "../artifacts";
import { NO_COUNTS } from "../counters";
import type { OnAgentModel } from "../ensemble";
import { EngineError } from "../errors";
import type { Link, Links } from "../links";
import type { Performer } from "../performer";
import type { AgentSpec, System } from "../system";
import { Tokenizers } from "../tokenizers";
import type { Counters, DeviceInfo, LiveCounts } from "../types";
import { readWeights } from "../weights";
import { type OwnLinks, ProcessorAgent } from "./agent";
import { parseConfig } from "./config";
import { Decoder } from "./decoder";
import { processorProblem } from "./fits";

/** Stands where a GPU device does; nothing is asked of a GPU, so only positions are counted. */
export class Processor {
  #positions = 0;

  readonly info: DeviceInfo = {
    runtime: "processor",
    vendor: "",
    architecture: "",
    description: "the processor, without a GPU",
    fallback: true,
    features: [],
  };

  readonly counters = {
    snapshot: (): Counters => NO_COUNTS,
    since: (): Counters => NO_COUNTS,
    live: (): LiveCounts => ({ bindGroups: 0, writes: 0, passes: 0, positions: this.#positions }),
  };

  /** A processor is never lost. */
  readonly lost: Promise<EngineError> = new Promise(() => {});

  /** @throws EngineError `no-webgpu` if the processor cannot run the system. */
  constructor(system: Pick<System, "agents">) {
    const problem = processorProblem(system);
    if (problem) throw new EngineError("no-webgpu", problem);
  }

  watch<T>(work: () => T): T {
    return work();
  }

  check(): void {}

  async explain(thrown: unknown): Promise<EngineError> {
    return EngineError.from(thrown);
  }

  destroy(): void {}

  /** Counts positions that a model computes. */
  readonly count = (positions: number): void => {
    this.#positions += positions;
  };
}

/** The agents of a system on the processor. */
export class ProcessorEnsemble {
  readonly resident = true;
  readonly #agents = new Map<string, Performer>();

  constructor(
    private readonly processor: Processor,
    private readonly artifacts: Artifacts,
    private readonly system: System,
    private readonly links: Links,
    private readonly held: readonly AgentSpec[],
  ) {}

  get agents(): ReadonlyMap<string, Performer> {
    return this.#agents;
  }

  /** The first agent of each model, which stands for it when loading is reported. */
  get heads(): readonly string[] {
    return [...new Map(this.held.toReversed().map(({ path, id }) => [path, id])).values()].toReversed();
  }

  async loadAll(onModel: OnAgentModel): Promise<void> {
    const decoders = new Map<string, Decoder>();
    const tokenizers = new Tokenizers(this.artifacts);
    for (const spec of this.held) {
      const decoder = decoders.get(spec.path) ?? (await this.#decoder(spec, onModel));
      decoders.set(spec.path, decoder);
      const tokenizer = await tokenizers.of(spec);
      this.#agents.set(
        spec.id,
        new ProcessorAgent(spec, tokenizer, decoder, this.#linksOf(spec), this.processor.count),
      );
    }
  }

  async enter(id: string): Promise<Performer> {
    const agent = this.#agents.get(id);
    if (!agent)
      throw new EngineError("bad-option", `agent '${id}' is not loaded here; load the system with it`);
    return agent;
  }

  dispose(): void {
    this.#agents.clear();
  }

  async #decoder(spec: AgentSpec, onModel: OnAgentModel): Promise<Decoder> {
    const config = parseConfig(await this.artifacts.readText(configFile(spec)), spec);
    onModel(spec.id, "compile", 1);
    const weights = await readWeights(this.artifacts, spec, (fraction) =>
      onModel(spec.id, "upload", fraction),
    );
    return new Decoder(config, weights, spec.id);
  }

  #linksOf(spec: AgentSpec): OwnLinks {
    const found = (link: Link | undefined, name: string): Link => {
      if (!link) throw new EngineError("bad-links", `there is no link '${name}'`);
      return link;
    };
    const { variant, inner, outer } = this.links;
    const outgoing = this.system.edges.filter((edge) => edge.from === spec.id);
    return {
      variant,
      inner: found(inner.get(spec.id), spec.id),
      outer: new Map(outgoing.map(({ id }) => [id, found(outer.get(id), id)])),
    };
  }
}

/** The file that describes an agent's model. */
export function configFile(spec: AgentSpec): string {
  return `${spec.path}mlc-chat-config.json`;
}
