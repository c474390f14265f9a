/**
 * TVM's web runtime, one instance a model library: scopes made safe, and everything of it that is not public API.
 *
 * Two model libraries share one GPU device, but each runtime batches its commands in an encoder of its own. Rows that
 * go from one agent to another are copied by our own encoder, which needs the buffer behind a tensor and a way to submit
 * what is pending. Neither is public, so `privateContext` asks for exactly that and fails loudly if it is not there.
 */
import * as tvmjs from "@mlc-ai/web-runtime";
import type { Gpu } from "./device";
import { EngineError } from "./errors";

/** Element types that the libraries use. */
export type Dtype = "float32" | "float16" | "int32" | "uint32";
export type Tensor = tvmjs.Tensor;
export type TvmObject = tvmjs.TVMObject;
/** What may be passed to a compiled function. */
export type Argument = Tensor | TvmObject | tvmjs.Scalar | string | number | null;
/** A compiled function that outlives the scope it was found in. */
export type Compiled = ((...args: Argument[]) => unknown) & { dispose(): void };

/** A shader as the library describes it. */
type ShaderInfo = { readonly name: string };

/**
 * Kernels that every library with TVM's paged KV cache has and that this engine never calls: tree attention, sliding
 * windows, multi-head latent attention, copies of pages, what only WebLLM asks for. Attention kernels are the slowest to
 * compile by far; should one of these ever be called, the runtime compiles it then.
 */
const UNUSED_KERNELS =
  /tree_attn|sliding_window|_mla_|debug_get_kv|copy_single_page|compact_kv_copy|apply_(logit_bias|penalty|bitmask)_inplace/;

/** What we use of the runtime's WebGPU context beyond its public API; web-runtime 0.27.0-dev0. */
interface PrivateContext {
  createShaderAsync(info: ShaderInfo, code: string): Promise<(...args: unknown[]) => unknown>;
  flushCommands(): void;
  gpuBufferFromPtr(pointer: number): GPUBuffer;
  deviceCopyWithinGPU(from: number, fromOffset: number, to: number, toOffset: number, bytes: number): void;
}

function privateContext(instance: tvmjs.Instance): PrivateContext {
  const context = (instance as unknown as { lib?: { webGPUContext?: Partial<PrivateContext> } }).lib
    ?.webGPUContext;
  for (const name of [
    "createShaderAsync",
    "flushCommands",
    "gpuBufferFromPtr",
    "deviceCopyWithinGPU",
  ] as const) {
    if (typeof context?.[name] !== "function") {
      throw new EngineError(
        "internal",
        `the web runtime no longer has webGPUContext.${name}; runtime.ts must be adapted to it`,
      );
    }
  }
  return context as PrivateContext;
}

/** The runtime's handle of a tensor's buffer; our copies start at the buffer's first byte, so the tensor must too. */
function pointer(tensor: Tensor): number {
  const offset = (tensor as unknown as { byteOffset?: number }).byteOffset;
  if (offset !== 0)
    throw new EngineError("internal", `a tensor starts at byte ${offset} of its buffer; expected 0`);
  return tensor.getDataPtr();
}

/** Bytes of one element. */
export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = { float32: 4, float16: 2, int32: 4, uint32: 4 };

/** One model library's runtime on a shared GPU device. */
export class Runtime {
  readonly #context: PrivateContext;
  readonly #device: tvmjs.DLDevice;
  readonly #kept = new Set<{ dispose(): void }>();

  private constructor(
    private readonly instance: tvmjs.Instance,
    private readonly gpu: Gpu,
  ) {
    instance.initWebGPU(gpu.device);
    this.#context = privateContext(instance);
    this.#device = instance.webgpu();
  }

  /**
   * @param wasm - the model library.
   * @throws EngineError `bad-library` when it is not WebAssembly that this runtime can load.
   */
  static async create(wasm: ArrayBuffer, gpu: Gpu, agent: string): Promise<Runtime> {
    let instance: tvmjs.Instance;
    try {
      instance = await tvmjs.instantiate(wasm, tvmjs.createPolyfillWASI(), () => {});
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new EngineError(
        "bad-library",
        `agent '${agent}': its model library does not load (${reason}); rebuild the system`,
        error,
      );
    }
    return new Runtime(instance, gpu);
  }

  /**
   * Runs work on the GPU, watched. Every runtime object that it made and did not `keep` is freed afterwards. Not for
   * asynchronous work.
   */
  scoped<T>(work: () => T): T {
    return this.gpu.watch(() => {
      this.instance.beginScope();
      try {
        return work();
      } finally {
        this.instance.endScope();
      }
    });
  }

  /** Lets an object outlive the present scope; it lives until `free` or `dispose`. */
  keep<T extends { dispose(): void }>(object: T): T {
    this.instance.detachFromCurrentScope(object as unknown as TvmObject);
    this.#kept.add(object);
    return object;
  }

  /** Frees a kept object. */
  free(object: { dispose(): void }): void {
    if (this.#kept.delete(object)) object.dispose();
  }

  /** A function of the runtime itself, kept. */
  builtin(name: string): Compiled {
    return this.scoped(() => this.keep(this.instance.getGlobalFunc(name) as unknown as Compiled));
  }

  /**
   * The library's virtual machine, kept, with the shaders that will be used compiled in parallel. A software adapter
   * compiles one at a time whatever it is asked, so there each waits until it is first used: a third never is.
   *
   * @param onShader - called with the part of them that is compiled, above 0 and up to 1.
   * @throws EngineError `gpu-validation` when the GPU refuses a shader.
   */
  async createMachine(onShader: (fraction: number) => void): Promise<tvmjs.VirtualMachine> {
    const machine = this.scoped(() => this.keep(this.instance.createVirtualMachine(this.#device)));
    if (this.gpu.info.fallback) onShader(1);
    else await this.#compileShaders(machine.getInternalModule(), onShader);
    await this.gpu.verdict();
    return machine;
  }

  /** Does what the runtime's asyncLoadWebGPUPipelines does, but for the shaders that are used. */
  async #compileShaders(module: tvmjs.Module, onShader: (fraction: number) => void): Promise<void> {
    const find = (name: string): Compiled =>
      this.scoped(() => this.keep(module.getFunction(name, true) as unknown as Compiled));
    const all = this.scoped(() => JSON.parse(String(find("webgpu.get_fmap")()))) as Record<
      string,
      ShaderInfo
    >;
    const [code, register] = [find("webgpu.get_shader"), find("webgpu.update_prebuild")];
    const used = Object.entries(all).filter(([name]) => !UNUSED_KERNELS.test(name));
    let done = 0;
    const compile = async ([name, info]: [string, ShaderInfo]): Promise<void> => {
      const shader = this.scoped(() => this.#context.createShaderAsync(info, String(code(name))));
      const compiled = await shader.catch((error: unknown) => {
        throw EngineError.from(error, "gpu-validation");
      });
      this.scoped(() => register(name, this.instance.toPackedFunc(compiled) as unknown as Argument));
      done += 1;
      onShader(done / used.length);
    };
    await Promise.all(used.map(compile));
  }

  /** A function of the library, kept; undefined when it has none of that name. */
  function(machine: tvmjs.VirtualMachine, name: string): Compiled | undefined {
    return this.scoped(() => {
      const found = machine.getFunction(name) as unknown as Compiled | undefined;
      return found && this.keep(found);
    });
  }

  /** An uninitialised tensor on the GPU, in the present scope. */
  empty(shape: readonly number[], dtype: Dtype): Tensor {
    return this.instance.empty([...shape], dtype, this.#device);
  }

  /** A tensor on the GPU with the given little-endian bytes, in the present scope. */
  upload(shape: readonly number[], dtype: Dtype, bytes: Uint8Array): Tensor {
    const tensor = this.empty(shape, dtype);
    if (bytes.byteLength % 4 === 0) return tensor.copyFromRawBytes(bytes);
    // WebGPU writes whole words; the runtime pads on the way from its own memory.
    const host = this.instance.empty([...shape], dtype, this.instance.cpu());
    return tensor.copyFrom(host.copyFromRawBytes(bytes));
  }

  /** The same data under another shape. */
  view(tensor: Tensor, shape: readonly number[]): Tensor {
    return tensor.view([...shape]);
  }

  /** A packed argument: tensors in call order. */
  pack(tensors: readonly Tensor[]): TvmObject {
    return this.instance.makeTVMArray([...tensors]);
  }

  shape(sizes: readonly number[]): TvmObject {
    return this.instance.makeShapeTuple([...sizes]);
  }

  int(value: number): tvmjs.Scalar {
    return new tvmjs.Scalar(value, "int64");
  }

  /** The elements of an array that a function returned. */
  item(result: unknown, index: number): Tensor {
    return (result as tvmjs.TVMArray).get(index) as Tensor;
  }

  /** Copies bytes of a tensor to another, in order with this runtime's other commands, without a submit. */
  copyWithin(from: Tensor, fromByte: number, to: Tensor, toByte: number, bytes: number): void {
    this.#context.deviceCopyWithinGPU(pointer(from), fromByte, pointer(to), toByte, bytes);
  }

  /** The GPU buffer behind a tensor. */
  buffer(tensor: Tensor): GPUBuffer {
    return this.#context.gpuBufferFromPtr(pointer(tensor));
  }

  /** Submits what is pending, so that other encoders come after it. */
  flush(): void {
    this.#context.flushCommands();
  }

  /**
   * Waits until the GPU has done everything: one synchronisation.
   *
   * @throws EngineError when the device refused anything so far.
   */
  async sync(): Promise<void> {
    await this.gpu.watch(() => this.#device.sync());
    await this.gpu.verdict();
  }

  /**
   * Reads a tensor back: one synchronisation, and as many bytes as it has (rounded up to four).
   *
   * @throws EngineError when the device refused anything so far.
   */
  async read(tensor: Tensor): Promise<Uint8Array<ArrayBuffer>> {
    const host = this.scoped(() => {
      const copy = this.keep(this.instance.empty([...tensor.shape], tensor.dtype, this.instance.cpu()));
      copy.copyFrom(tensor);
      return copy;
    });
    try {
      await this.sync();
      return this.scoped(() => new Uint8Array(host.toRawBytes()));
    } finally {
      this.free(host);
    }
  }

  /** Frees everything, GPU buffers included. The device stays. */
  dispose(): void {
    for (const object of this.#kept) object.dispose();
    this.#kept.clear();
    this.instance.dispose();
  }
}
