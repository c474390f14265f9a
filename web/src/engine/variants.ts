/** Chooses the variant of a system that a GPU can run: the same agents with other weights, float16 or float32. */
import { requestAdapter } from "./device";
import type { System } from "./system";

/** The features and limits that an adapter offers. */
export type Offer = Pick<GPUAdapter, "features" | "limits">;

/**
 * Reduces a system to what this GPU will run. Pure.
 *
 * @param offer - undefined if there is no adapter; the manifest's own agents are taken then.
 * @returns the system with the first variant that the GPU can run, or else with the manifest's own agents. `files`
 *   leaves out the folders of the others, and `variants` is empty.
 */
export function chooseVariant(system: System, offer: Offer | undefined): System {
  const chosen = (offer && system.variants.find((variant) => runs(variant, offer))) ?? system;
  const { agents, requiredFeatures, requiredLimits, memoryBytes } = chosen;
  const folders = (each: Pick<System, "agents">): string[] => each.agents.map((agent) => agent.path);
  const wanted = new Set(folders(chosen));
  const others = [system, ...system.variants].flatMap(folders).filter((folder) => !wanted.has(folder));
  const files = system.files.filter((file) => !others.some((folder) => file.path.startsWith(folder)));
  return { ...system, agents, requiredFeatures, requiredLimits, memoryBytes, files, variants: [] };
}

/** `chooseVariant` for this browser's GPU. It asks for an adapter only if there is a choice. */
export async function variantFor(
  system: System,
  gpu: GPU | undefined,
  powerPreference: GPUPowerPreference = "high-performance",
): Promise<System> {
  if (system.variants.length === 0) return system;
  const adapter = gpu && (await requestAdapter(gpu, powerPreference));
  return chooseVariant(system, adapter ?? undefined);
}

function runs(needs: Pick<System, "requiredFeatures" | "requiredLimits">, offer: Offer): boolean {
  const limits = offer.limits as unknown as Readonly<Record<string, number | undefined>>;
  return (
    needs.requiredFeatures.every((feature) => offer.features.has(feature)) &&
    Object.entries(needs.requiredLimits).every(([name, least]) => (limits[name] ?? 0) >= least)
  );
}
