/** Which systems run without a GPU. */
import type { System } from "../system";

/** Families whose layers `decoder.ts` has. */
const ARCHITECTURES = ["llama", "mistral", "qwen2", "qwen3"];

/** Why the processor cannot run a system, in one line; undefined if it can, as far as the manifest tells. */
export function processorProblem({ agents }: Pick<System, "agents">): string | undefined {
  const odd = agents.find(
    ({ architecture, quantization }) => !ARCHITECTURES.includes(architecture) || quantization !== "q0f32",
  );
  return (
    odd &&
    `agent '${odd.id}' is ${odd.architecture} in ${odd.quantization}; without a GPU the engine computes ` +
      `${ARCHITECTURES.join(", ")} in q0f32, so build the system with '--quantization q0f32' or use a browser with WebGPU`
  );
}
