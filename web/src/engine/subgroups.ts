/**
 * How large the subgroups are that a library may rely on.
 *
 * The kernels exchange values between a thread and the one whose number differs in one bit, and take for granted that
 * both are in one subgroup. WebGPU promises how many threads the smallest subgroup has, but not that threads fill
 * subgroups in the order of their numbers; so a small shader does what the kernels do and compares.
 */
import { GPU_MS, within } from "./patience";

/** Workgroups of the kernels that exchange values have 64 or 128 threads, or a little fewer. */
const WORKGROUPS = [64, 128] as const;

// The page's types, which this file is checked with, too, do not know WebGPU's constants.
/** GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC. */
const COUNTER = 0x84;
/** GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ. */
const READ_BACK = 0x09;
/** GPUMapMode.READ. */
const MAP_READ = 0x01;

/** The number of wrong exchanges, which is zero where threads lie as the kernels expect. */
const shader = (size: number): string => /* wgsl */ `
enable subgroups;

@group(0) @binding(0) var<storage, read_write> wrong: atomic<u32>;

fn compare(thread: u32) {
  for (var mask = 1u; mask < ${size}u; mask *= 2u) {
    if (subgroupShuffleXor(thread, mask) != (thread ^ mask)) {
      atomicAdd(&wrong, 1u);
    }
  }
}
${WORKGROUPS.map(
  (threads) => `
@compute @workgroup_size(${threads})
fn compare${threads}(@builtin(local_invocation_id) thread: vec3<u32>) {
  compare(thread.x);
}
`,
).join("")}`;

/**
 * The size of subgroups that kernels may rely on; 0 if the adapter has none, or has them in another order.
 *
 * @param adapter - no device may have been asked of it yet, and none can be asked of it afterwards.
 */
export async function subgroupSize(adapter: GPUAdapter): Promise<number> {
  const { subgroupMinSize: size = 0 } = adapter.info;
  if (!adapter.features.has("subgroups") || size < 2) return 0;
  try {
    const late = (): Error => new Error("no answer");
    return (await within(GPU_MS, countWrong(adapter, size), late)) === 0 ? size : 0;
  } catch {
    return 0; // Every system has libraries that need no subgroups.
  }
}

async function countWrong(adapter: GPUAdapter, size: number): Promise<number> {
  const device = await adapter.requestDevice({ requiredFeatures: ["subgroups"] });
  try {
    const failed = new Promise<never>((_, reject) => {
      device.onuncapturederror = (event) => reject(event.error);
    });
    return await Promise.race([dispatched(device, size), failed]);
  } finally {
    device.destroy();
  }
}

async function dispatched(device: GPUDevice, size: number): Promise<number> {
  const module = device.createShaderModule({ code: shader(size) });
  const wrong = device.createBuffer({ size: 4, usage: COUNTER });
  const read = device.createBuffer({ size: 4, usage: READ_BACK });
  const encoder = device.createCommandEncoder();
  for (const threads of WORKGROUPS) {
    const pipeline = await device.createComputePipelineAsync({
      layout: "auto",
      compute: { module, entryPoint: `compare${threads}` },
    });
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    const entries = [{ binding: 0, resource: { buffer: wrong } }];
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(1);
    pass.end();
  }
  encoder.copyBufferToBuffer(wrong, 0, read, 0, 4);
  device.queue.submit([encoder.finish()]);
  await read.mapAsync(MAP_READ);
  return new Uint32Array(read.getMappedRange())[0] ?? Number.NaN;
}
