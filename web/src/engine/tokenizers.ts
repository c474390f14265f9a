/** The tokenizers of a system's agents, read once for agents that have the same files. */
import type { Artifacts } from "./artifacts";
import type { AgentSpec } from "./system";
import { loadTokenizer, type Tokenizer } from "./tokenizer";

export class Tokenizers {
  /** By the sha256 of their files. */
  readonly #known = new Map<string, Tokenizer>();

  constructor(private readonly artifacts: Artifacts) {}

  /** Reads an agent's tokenizer; errors name the first agent that has it. @throws EngineError */
  async of(spec: AgentSpec): Promise<Tokenizer> {
    const { artifacts } = this;
    const files = tokenizerFiles(artifacts, spec);
    const content = files.map((path) => artifacts.sha256(path)).join();
    const known = this.#known.get(content);
    if (known) return known;
    const [json, config] = await Promise.all(files.map((path) => artifacts.readText(path)));
    const tokenizer = loadTokenizer(json ?? "", config, spec.id);
    this.#known.set(content, tokenizer);
    return tokenizer;
  }
}

/** The files of an agent's tokenizer that the system has. */
export function tokenizerFiles(artifacts: Pick<Artifacts, "has">, agent: AgentSpec): string[] {
  return [`${agent.path}tokenizer.json`, `${agent.path}tokenizer_config.json`].filter((path) =>
    artifacts.has(path),
  );
}
