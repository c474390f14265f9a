/** Chooses what of a system a GPU can run: the same agents in float16 or float32, with or without subgroups. */
import { requestAdapter } from "./device";
import { subgroupSize } from "./subgroups";
import { type AgentSpec, librariesOf, type System } from "./system";

/** What an adapter offers. */
export interface Offer extends Pick<GPUAdapter, "features" | "limits"> {
  /** From `subgroupSize`: threads of a subgroup that libraries may rely on; 0 if there are none. */
  readonly subgroupSize: number;
}

/**
 * Reduces a system to what this GPU will run. Pure.
 *
 * @param offer - undefined if there is no adapter; the manifest's own agents are taken then.
 * @returns the system with the first variant that the GPU can run, or else with the manifest's own agents, each with
 *   one library. `files` leaves out the folders and libraries of the others, and `variants` is empty.
 */
export function chooseVariant(system: System, offer: Offer | undefined): System {
  const chosen = (offer && system.variants.find((variant) => runs(variant, offer))) ?? system;
  const { requiredLimits, memoryBytes } = chosen;
  const agents = chosen.agents.map((agent) => withOneLibrary(agent, offer?.subgroupSize ?? 0));
  const subgroups = agents.some((agent, index) => agent.modelLib !== chosen.agents[index]?.modelLib);
  const requiredFeatures = [...chosen.requiredFeatures, ...(subgroups ? ["subgroups"] : [])];
  const everyAgent = allAgents(system);
  const folders = new Set(agents.map((agent) => agent.path));
  const libraries = new Set(agents.map((agent) => agent.modelLib));
  const otherFolders = everyAgent.map((agent) => agent.path).filter((path) => !folders.has(path));
  const otherLibraries = new Set(everyAgent.flatMap(librariesOf).filter((path) => !libraries.has(path)));
  const files = system.files.filter(
    ({ path }) => !otherLibraries.has(path) && !otherFolders.some((folder) => path.startsWith(folder)),
  );
  return { ...system, agents, requiredFeatures, requiredLimits, memoryBytes, files, variants: [] };
}

/** `chooseVariant` for this browser's GPU. It asks for an adapter only if there is a choice. */
export async function variantFor(
  system: System,
  gpu: GPU | undefined,
  powerPreference: GPUPowerPreference = "high-performance",
): Promise<System> {
  const second = allAgents(system).some((agent) => agent.subgroupLib);
  if (system.variants.length === 0 && !second) return system;
  const adapter = gpu && (await requestAdapter(gpu, powerPreference));
  if (!adapter) return chooseVariant(system, undefined);
  const { features, limits } = adapter;
  return chooseVariant(system, {
    features,
    limits,
    subgroupSize: second ? await subgroupSize(adapter) : 0,
  });
}

function allAgents(system: System): AgentSpec[] {
  return [system, ...system.variants].flatMap(({ agents }) => agents);
}

function withOneLibrary(agent: AgentSpec, size: number): AgentSpec {
  const { modelLib, subgroupLib } = agent;
  const taken = subgroupLib && subgroupLib.subgroupSize <= size ? subgroupLib.modelLib : modelLib;
  return { ...agent, modelLib: taken, subgroupLib: null };
}

function runs(needs: Pick<System, "requiredFeatures" | "requiredLimits">, offer: Offer): boolean {
  const limits = offer.limits as unknown as Readonly<Record<string, number | undefined>>;
  return (
    needs.requiredFeatures.every((feature) => offer.features.has(feature)) &&
    Object.entries(needs.requiredLimits).every(([name, least]) => (limits[name] ?? 0) >= least)
  );
}
