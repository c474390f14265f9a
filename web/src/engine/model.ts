/** A model on the GPU: functions, weights and KV cache. Agents of the same checkpoint share one. */
import type { Artifacts } from "./artifacts";
import type { GpuCounters } from "./counters";
import type { Gpu } from "./device";
import { KvCache, PAGE_SIZE } from "./kv-cache";
import { bindLibrary, type Library } from "./library";
import type { HostTensor, Variant } from "./links";
import { Runtime, type Tensor, type TvmObject } from "./runtime";
import type { AgentSpec } from "./system";
import { loadWeights } from "./weights";

export interface Model {
  readonly device: GPUDevice;
  readonly counters: GpuCounters;
  readonly runtime: Runtime;
  readonly library: Library;
  /** Packed parameters in call order. */
  readonly params: TvmObject;
  readonly kvCache: KvCache;
  /** What linear attention remembers of the sequence that is computed now. */
  readonly recurrentState: TvmObject | undefined;
  /** (1,) int32: the decoded token that goes into `embed`. */
  readonly tokenId: Tensor;
  /** (1,) int32, zero: samples for the only sequence. */
  readonly sampleIndices: Tensor;
}

/** Called with the finished part of a phase, above 0 and up to 1. */
type OnModel = (phase: "compile" | "upload", fraction: number) => void;

/**
 * Loads a model while its files arrive.
 *
 * @param agents - how many agents share it.
 * @throws EngineError; nothing of the model stays on the GPU then.
 */
export async function loadModel(
  gpu: Gpu,
  artifacts: Artifacts,
  spec: AgentSpec,
  variant: Variant,
  agents: number,
  onModel: OnModel,
): Promise<Model> {
  const runtime = await Runtime.create(() => artifacts.readModule(spec.modelLib), gpu, spec.id);
  try {
    const machine = runtime.createMachine();
    const library = bindLibrary(runtime, machine, spec, variant);
    // Shaders are compiled while the weights arrive. A failure waits for the other work, which uses the runtime.
    const outcomes = await Promise.allSettled([
      loadWeights(runtime, artifacts, spec, library.params, (fraction) => onModel("upload", fraction)),
      runtime.compileShaders(machine, (fraction) => onModel("compile", fraction)),
    ]);
    const [weights, shaders] = outcomes;
    if (shaders.status === "rejected") throw shaders.reason;
    if (weights.status === "rejected") throw weights.reason;
    const params = weights.value;
    const kvCache = createKvCache(runtime, library, agents);
    const int32 = (value: number): Tensor =>
      runtime.scoped(() =>
        runtime.keep(runtime.upload([1], "int32", new Uint8Array(Int32Array.of(value).buffer))),
      );
    const model = {
      device: gpu.device,
      counters: gpu.counters,
      runtime,
      library,
      params,
      kvCache,
      recurrentState: runtime.scoped(
        () => library.recurrent && runtime.keep(library.recurrent.create() as TvmObject),
      ),
      tokenId: int32(0),
      sampleIndices: int32(0),
    };
    await runtime.sync();
    return model;
  } catch (error) {
    runtime.dispose();
    throw error;
  }
}

function createKvCache(runtime: Runtime, library: Library, agents: number): KvCache {
  const { contextWindowSize, prefillChunkSize } = library;
  const create = (maxTotalLength: number): TvmObject => {
    const sizes = [agents, maxTotalLength, prefillChunkSize, PAGE_SIZE, 0];
    return library.createKvCache(...sizes.map((size) => runtime.shape([size]))) as TvmObject;
  };
  return new KvCache(runtime, library.kv, create, contextWindowSize, agents);
}

/** Uploads the tensors of a link, in float32, as one packed argument. */
export function packLink(runtime: Runtime, tensors: readonly HostTensor[]): TvmObject {
  return runtime.scoped(() => {
    const uploaded = tensors.map(({ shape, data }) =>
      runtime.upload(shape, "float32", new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
    );
    return runtime.keep(runtime.pack(uploaded));
  });
}
