/** Reads `system.json` and checks what its schema cannot: the graph, the variants and the list of files. */
import type { AgentRecord, Edge, FileRecord, Manifest, PromptRecord } from "../formats/generated/types";
import { MANIFEST } from "../formats/generated/validators";
import { isProperty } from "../formats/names";
import { EngineError } from "./errors";
import { parseFileAs } from "./parse";

/** A built system. */
export interface System extends Manifest {
  /** Of `system.json` itself, byte for byte, once it was read: it stands for every file that the manifest lists. */
  readonly sha256?: string;
}
export type AgentSpec = AgentRecord;
export type EdgeSpec = Edge;
export type FileSpec = FileRecord;
export type PromptSpec = PromptRecord;

/** GPU memory that a system needs, estimated. */
export interface Memory {
  /** With all agents loaded. */
  readonly togetherBytes: number;
  /** With the agents loaded one after another: the largest of them, and the links. */
  readonly oneByOneBytes: number;
}

/** What the manifest says about memory; agents that share a checkpoint count once. */
export function memoryOf({ agents, memoryBytes }: Pick<System, "agents" | "memoryBytes">): Memory {
  const models = [...new Map(agents.map((agent) => [agent.modelLib, agent.memoryBytes])).values()];
  const rest = memoryBytes - models.reduce((sum, bytes) => sum + bytes, 0);
  return { togetherBytes: memoryBytes, oneByOneBytes: Math.max(0, ...models) + Math.max(0, rest) };
}

/**
 * Reads and checks a manifest.
 *
 * @param text - the content of `system.json`.
 * @param source - its URL, for messages.
 * @throws EngineError `bad-manifest`: one line with every problem.
 */
export function parseSystem(text: string, source: string): System {
  const system = parseFileAs("bad-manifest", text, source, MANIFEST);
  checkGraph(system, source);
  checkVariants(system, source);
  checkFiles(system, source);
  return system;
}

function bad(source: string, problem: string): EngineError {
  return new EngineError("bad-manifest", `${source}: ${problem}`);
}

/** Edges must name agents and fit the order in which agents run (docs/recursion.md, rule 1). */
function checkGraph(system: System, source: string): void {
  const taken = [...system.agents, ...system.edges].find(({ id }) => isProperty(id));
  if (taken) throw bad(source, `'${taken.id}' has a meaning in JavaScript; choose another name and rebuild`);
  const position = new Map(system.agents.map((agent, index) => [agent.id, index]));
  if (position.size !== system.agents.length) throw bad(source, "an agent id appears twice");
  if (new Set(system.edges.map((edge) => edge.id)).size !== system.edges.length) {
    throw bad(source, "an edge id appears twice");
  }
  for (const edge of system.edges) {
    const from = position.get(edge.from);
    const to = position.get(edge.to);
    if (from === undefined || to === undefined) {
      throw bad(
        source,
        `edge '${edge.id}' names an unknown agent; agents are ${[...position.keys()].join(", ")}`,
      );
    }
    if (to <= from !== edge.feedback) {
      const problem = edge.feedback
        ? "is marked as feedback but its receiver runs later"
        : "closes a cycle without an order";
      throw bad(source, `edge '${edge.id}' ${problem}; rebuild the system with 'rmas build'`);
    }
  }
}

/** The libraries in an agent's folder. */
export function librariesOf({ modelLib, subgroupLib }: AgentSpec): string[] {
  return [modelLib, ...(subgroupLib ? [subgroupLib.modelLib] : [])];
}

/** A variant has the same agents in the same order: links and prompts are shared. */
function checkVariants(system: System, source: string): void {
  const shape = ({ agents }: Pick<System, "agents">): string =>
    agents.map((agent) => `${agent.id} ${agent.hiddenSize}`).join();
  const odd = system.variants.find((variant) => shape(variant) !== shape(system));
  if (odd) throw bad(source, `variant ${odd.quantization} has other agents than the system`);
}

/** More bytes than any browser keeps in one piece. */
const LARGEST_FILE_BYTES = 2 ** 33;

/** Everything the engine will fetch must be listed, so that nothing runs unverified. */
function checkFiles(system: System, source: string): void {
  const listed = new Set(system.files.map((file) => file.path));
  const needed = [
    system.links,
    ...(system.task?.questions ? [system.task.questions] : []),
    ...[system, ...system.variants]
      .flatMap(({ agents }) => agents)
      .flatMap((agent) => [
        ...librariesOf(agent),
        `${agent.path}tensor-cache.json`,
        `${agent.path}tokenizer.json`,
      ]),
  ];
  const broken = [...listed].find((path) => /\p{Cs}/u.test(path));
  if (broken !== undefined)
    throw bad(source, `the path '${broken}' has half a surrogate pair, which no address can spell`);
  const large = system.files.find(({ sizeBytes }) => sizeBytes > LARGEST_FILE_BYTES);
  if (large)
    throw bad(source, `${large.path} has ${large.sizeBytes} bytes; no browser can hold more than 8 GiB`);
  const missing = needed.find((path) => !listed.has(path));
  if (missing !== undefined)
    throw bad(source, `'files' does not list ${missing}; rebuild the system with 'rmas build'`);
}
