/** A model on the GPU: functions, weights and KV cache. Agents of the same checkpoint share one. */
import type { Artifacts } from "./artifacts";
import type { Gpu } from "./device";
import { bindLibrary, type Library } from "./library";
import type { HostTensor, Variant } from "./links";
import { Runtime, type Tensor, type TvmObject } from "./runtime";
import type { AgentSpec } from "./system";
import { loadWeights } from "./weights";

/** Positions per page of the KV cache, as in MLC's runtimes. */
const PAGE_SIZE = 16;

export interface Model {
  readonly device: GPUDevice;
  readonly runtime: Runtime;
  readonly library: Library;
  /** Packed parameters in call order. */
  readonly params: TvmObject;
  /** Holds one sequence as long as the context window. Every turn clears it. */
  readonly kvCache: TvmObject;
  /** What linear attention remembers of the sequence; every turn clears it, too. */
  readonly recurrentState: TvmObject | undefined;
  /** (1,) int32: the decoded token that goes into `embed`. */
  readonly tokenId: Tensor;
  /** (1,) int32, zero: samples for the only sequence. */
  readonly sampleIndices: Tensor;
}

/** Called with the finished part of a phase, above 0 and up to 1. */
type OnModel = (phase: "compile" | "upload", fraction: number) => void;

/**
 * Loads a model whose files have been downloaded.
 *
 * @throws EngineError; nothing of the model stays on the GPU then.
 */
export async function loadModel(
  gpu: Gpu,
  artifacts: Artifacts,
  spec: AgentSpec,
  variant: Variant,
  onModel: OnModel,
): Promise<Model> {
  const wasm = await artifacts.read(spec.modelLib);
  const runtime = await Runtime.create(wasm.buffer, gpu, spec.id);
  artifacts.release(spec.modelLib);
  try {
    const library = await bindLibrary(runtime, spec, variant, (fraction) => onModel("compile", fraction));
    const onShard = (fraction: number): void => onModel("upload", fraction);
    const params = await loadWeights(runtime, artifacts, spec, library.params, onShard);
    const kvCache = createKvCache(runtime, library);
    const int32 = (value: number): Tensor =>
      runtime.scoped(() =>
        runtime.keep(runtime.upload([1], "int32", new Uint8Array(Int32Array.of(value).buffer))),
      );
    const model = {
      device: gpu.device,
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

function createKvCache(runtime: Runtime, library: Library): TvmObject {
  const sizes = {
    maxBatchSize: 1,
    maxTotalLength: library.contextWindowSize,
    prefillChunkSize: library.prefillChunkSize,
    pageSize: PAGE_SIZE,
    slidingWindow: 0,
  };
  return runtime.scoped(() => {
    const shapes = Object.values(sizes).map((size) => runtime.shape([size]));
    return runtime.keep(library.createKvCache(...shapes) as TvmObject);
  });
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
