/**
 * Wraps TVM's web runtime, one instance per model library: makes its scopes safe, and hides what is not its public API.
 *
 * The model libraries share one GPU device, but each runtime batches its commands in its own encoder. Another encoder,
 * ours, copies rows from agent to agent. It needs the buffer behind a tensor and a way to submit pending commands.
 * Neither is public, so `privateContext` checks for both and throws if they are missing.
 */

import * as tvmjs from "@mlc-ai/web-runtime";
import { reasonInFile } from "../formats/errors";
import type { Gpu } from "./device";
import { EngineError, isOutOfMemory } from "./errors";

/** Element types that the libraries use. */
export type Dtype = "float32" | "float16" | "int32" | "uint32";
export type Tensor = tvmjs.Tensor;
export type TvmObject = tvmjs.TVMObject;
/** A library's functions, loaded. */
export type Machine = tvmjs.VirtualMachine;
/** What may be passed to a compiled function. */
type Argument = Tensor | TvmObject | tvmjs.Scalar | string | number | null;
/** A compiled function that outlives the scope in which it was found. */
export type Compiled = ((...args: Argument[]) => unknown) & { dispose(): void };

/** A shader as the library describes it. */
type ShaderInfo = { readonly name: string };

/**
 * Kernels that this engine never calls. All libraries have those that bias and mask logits, for WebLLM. Libraries of
 * version 0.1.0, and those that MLC-LLM's definitions make, also have TVM's own kernels for its paged KV cache: tree
 * attention, sliding windows, multi-head latent attention and copies of pages. Attention kernels are the slowest to
 * compile by far. If one of these is called after all, the runtime compiles it then.
 */
const UNUSED_KERNELS =
  /tree_attn|sliding_window|_mla_|debug_get_kv|copy_single_page|compact_kv_copy|apply_(logit_bias|bitmask)_inplace/;

/** The private part of the runtime's WebGPU context that we use, as in web-runtime 0.27.0-dev0. */
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
        `the web runtime no longer has webGPUContext.${name}; adapt runtime.ts to its new version`,
      );
    }
  }
  return context as PrivateContext;
}

/** The runtime's handle of a tensor's buffer. Our copies start at the buffer's first byte, so the tensor must too. */
function pointer(tensor: Tensor): number {
  const offset = (tensor as unknown as { byteOffset?: number }).byteOffset;
  if (offset !== 0)
    throw new EngineError("internal", `a tensor starts at byte ${offset} of its buffer; expected 0`);
  return tensor.getDataPtr();
}

/** Bytes per element. */
export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = { float32: 4, float16: 2, int32: 4, uint32: 4 };

/** The runtime of one model library, on a shared GPU device. */
export class Runtime {
  readonly #context: PrivateContext;
  readonly #device: tvmjs.DLDevice;
  readonly #kept = new Set<{ dispose(): void }>();
  #releaseScratch: Compiled | undefined;

  private constructor(
    private readonly instance: tvmjs.Instance,
    private readonly gpu: Gpu,
  ) {
    instance.initWebGPU(gpu.device);
    this.#context = privateContext(instance);
    this.#device = instance.webgpu();
  }

  /**
   * @param compile - gives the model library, compiled.
   * @throws EngineError `bad-library` when it is not WebAssembly that this runtime can load, and whatever `compile` throws.
   */
  static async create(compile: () => Promise<WebAssembly.Module>, gpu: Gpu, agent: string): Promise<Runtime> {
    let instance: tvmjs.Instance;
    try {
      instance = new tvmjs.Instance(await compile(), tvmjs.createPolyfillWASI());
    } catch (error) {
      if (error instanceof EngineError) throw error;
      if (isOutOfMemory(error)) throw EngineError.from(error);
      const reason = reasonInFile(error);
      throw new EngineError(
        "bad-library",
        `agent '${agent}': its model library does not load (${reason}); rebuild the system`,
        error,
      );
    }
    return new Runtime(instance, gpu);
  }

  /**
   * Runs synchronous work on the GPU, watched, and then frees every runtime object that the work created and did not
   * `keep`.
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

  /** Lets an object outlive the current scope, until `free` or `dispose`. */
  keep<T extends { dispose(): void }>(object: T): T {
    this.instance.detachFromCurrentScope(object as unknown as TvmObject);
    this.#kept.add(object);
    return object;
  }

  /** Frees a kept object. */
  free(object: { dispose(): void }): void {
    if (this.#kept.delete(object)) object.dispose();
  }

  /** Finds a function of the runtime itself. */
  builtin(name: string): Compiled {
    return this.scoped(() => this.keep(this.instance.getGlobalFunc(name) as unknown as Compiled));
  }

  /** Creates the library's virtual machine. */
  createMachine(): tvmjs.VirtualMachine {
    return this.scoped(() => this.keep(this.instance.createVirtualMachine(this.#device)));
  }

  /**
   * Compiles the shaders that will be used, in parallel. A software adapter compiles one shader at a time, so there each
   * shader is compiled when it is first used.
   *
   * @param onShader - called with the compiled part of the shaders, above 0 and up to 1.
   * @throws EngineError `gpu-validation` when the GPU refuses a shader.
   */
  async compileShaders(machine: tvmjs.VirtualMachine, onShader: (fraction: number) => void): Promise<void> {
    if (this.gpu.info.fallback) onShader(1);
    else await this.#compileShaders(machine.getInternalModule(), onShader);
    await this.gpu.verdict();
  }

  /** Like the runtime's asyncLoadWebGPUPipelines, but only for the shaders that are used. */
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
    // A refusal waits for the other shaders, because they use the runtime, which a failure disposes.
    const outcomes = await Promise.allSettled(used.map(compile));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }

  /** Finds a function of the library; undefined if it has none of that name. */
  function(machine: tvmjs.VirtualMachine, name: string): Compiled | undefined {
    return this.scoped(() => {
      const found = machine.getFunction(name) as unknown as Compiled | undefined;
      return found && this.keep(found);
    });
  }

  /** Allocates an uninitialised tensor on the GPU, in the current scope. */
  empty(shape: readonly number[], dtype: Dtype): Tensor {
    return this.instance.empty([...shape], dtype, this.#device);
  }

  /** Uploads little-endian bytes into a new tensor, in the current scope. */
  upload(shape: readonly number[], dtype: Dtype, bytes: Uint8Array): Tensor {
    const tensor = this.empty(shape, dtype);
    if (bytes.byteLength % 4 === 0) return tensor.copyFromRawBytes(bytes);
    // WebGPU writes whole words only; the runtime pads what it copies from its own memory.
    const host = this.instance.empty([...shape], dtype, this.instance.cpu());
    return tensor.copyFrom(host.copyFromRawBytes(bytes));
  }

  /** Gives the same data another shape. */
  view(tensor: Tensor, shape: readonly number[]): Tensor {
    return tensor.view([...shape]);
  }

  /** Packs tensors, in call order, into one argument. */
  pack(tensors: readonly Tensor[]): TvmObject {
    return this.instance.makeTVMArray([...tensors]);
  }

  shape(sizes: readonly number[]): TvmObject {
    return this.instance.makeShapeTuple([...sizes]);
  }

  int(value: number): tvmjs.Scalar {
    return new tvmjs.Scalar(value, "int64");
  }

  /** An element of the array that a function returned. */
  item(result: unknown, index: number): Tensor {
    return (result as tvmjs.TVMArray).get(index) as Tensor;
  }

  /** Queues a copy of bytes from one tensor to another, after this runtime's other commands. */
  copyWithin(from: Tensor, fromByte: number, to: Tensor, toByte: number, bytes: number): void {
    this.#context.deviceCopyWithinGPU(pointer(from), fromByte, pointer(to), toByte, bytes);
  }

  /** The GPU buffer behind a tensor. */
  buffer(tensor: Tensor): GPUBuffer {
    return this.#context.gpuBufferFromPtr(pointer(tensor));
  }

  /** Submits the pending commands, so that commands of other encoders come after them. */
  flush(): void {
    this.#context.flushCommands();
  }

  /**
   * Waits until the GPU has finished: one synchronisation.
   *
   * @throws EngineError when the device refused anything so far.
   */
  async sync(): Promise<void> {
    await this.gpu.watch(() => this.#device.sync());
    await this.gpu.verdict();
  }

  /**
   * Reads a tensor back: one synchronisation, and as many bytes as the tensor has, rounded up to four.
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

  /** Frees the memory that calls of the library's functions use and that no tensor needs; the next call takes it again. */
  releaseScratch(): void {
    this.#releaseScratch ??= this.builtin("vm.builtin.memory_manager.clear");
    this.scoped(this.#releaseScratch);
  }

  /** Frees everything but the device, GPU buffers included. */
  dispose(): void {
    for (const object of this.#kept) object.dispose();
    this.#kept.clear();
    this.instance.dispose();
  }
}
