/**
 * Looks for NaN and infinity in what the agents compute, on the GPU and without waiting for it.
 *
 * Everything that is looked at gets a number, in order. The GPU keeps the lowest number whose values are not finite.
 * The next token that is picked tells: it is read back as -1 minus that number. So the first fault of a run is found,
 * wherever it lies, and the four bytes of the token are all that is read.
 *
 * The shader compares bits, because a compiler of WGSL may assume that no float is NaN (WGSL, "Floating point
 * evaluation"). It needs nothing of a model library.
 */

/** How a tensor's floats lie in words of 32 bits. */
type FloatType = "float32" | "float16";

const THREADS = 256;
/** Words that a thread looks at; more would keep most of a GPU idle. */
const WORDS = 16;
/** Nothing was found. */
const NONE = 0xffffffff;

const SHADER = /* wgsl */ `
struct Look {
  number: u32,
  // The bits of a float's exponent: all of them are set in NaN and infinity. A word holds one float32 or two float16.
  low: u32,
  high: u32,
}

@group(0) @binding(0) var<storage, read_write> first: atomic<u32>;
@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(2) var<uniform> at: Look;
@group(0) @binding(3) var<storage, read_write> token: i32;

@compute @workgroup_size(${THREADS})
fn look(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  for (var i = id.x; i < arrayLength(&words); i += groups.x * ${THREADS}u) {
    let word = words[i];
    if ((word & at.low) == at.low || (word & at.high) == at.high) {
      atomicMin(&first, at.number);
    }
  }
}

@compute @workgroup_size(1)
fn tell() {
  let number = atomicLoad(&first);
  if (number != ${NONE}u) {
    token = -1 - i32(number);
  }
}
`;

/** The exponents' bits in a word, as the shader takes them. */
const EXPONENTS: Readonly<Record<FloatType, readonly [number, number]>> = {
  float32: [0x7f800000, 0x7f800000],
  float16: [0x7c00, 0x7c000000],
};

/** Floats on the GPU: the first bytes of a buffer, a multiple of four. */
interface Values {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
  readonly dtype: FloatType;
}

/** The check of one GPU device. */
export class FiniteCheck {
  /** One word: the lowest number that is not finite. */
  readonly #first: GPUBuffer;
  readonly #at: GPUBuffer;
  readonly #look: GPUComputePipeline;
  readonly #tell: GPUComputePipeline;
  /** What was looked at, by number. */
  #what: string[] = [];

  constructor(private readonly device: GPUDevice) {
    const module = device.createShaderModule({ code: SHADER });
    const pipeline = (entryPoint: string): GPUComputePipeline =>
      device.createComputePipeline({ layout: "auto", compute: { module, entryPoint } });
    this.#look = pipeline("look");
    this.#tell = pipeline("tell");
    this.#first = device.createBuffer({ size: 4, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
    this.#at = device.createBuffer({ size: 16, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
    this.restart();
  }

  /** Forgets what was found; a run begins with this. */
  restart(): void {
    this.#what = [];
    this.device.queue.writeBuffer(this.#first, 0, Uint32Array.of(NONE));
  }

  /**
   * Queues a look. The commands that compute the values must have been submitted.
   *
   * @param what - what the values are, for the error.
   * @param token - (1,) int32. It becomes negative if these values, or earlier ones, are not finite.
   */
  look({ buffer, bytes, dtype }: Values, what: string, token?: GPUBuffer): void {
    const { device } = this;
    device.queue.writeBuffer(this.#at, 0, Uint32Array.of(this.#what.length, ...EXPONENTS[dtype]));
    this.#what.push(what);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.#look);
    const first = { buffer: this.#first };
    const values = { buffer, size: bytes };
    pass.setBindGroup(0, this.#bind(this.#look, { 0: first, 1: values, 2: { buffer: this.#at } }));
    pass.dispatchWorkgroups(Math.ceil(bytes / 4 / THREADS / WORDS));
    if (token) {
      pass.setPipeline(this.#tell);
      pass.setBindGroup(0, this.#bind(this.#tell, { 0: first, 3: { buffer: token, size: 4 } }));
      pass.dispatchWorkgroups(1);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
  }

  /** @returns what was not finite, from a token that was read back; undefined if all was. */
  found(token: number): string | undefined {
    return this.#what[-1 - token];
  }

  /** Frees its buffers. */
  dispose(): void {
    this.#first.destroy();
    this.#at.destroy();
  }

  #bind(pipeline: GPUComputePipeline, resources: Readonly<Record<number, GPUBufferBinding>>): GPUBindGroup {
    return this.device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: Object.entries(resources).map(([binding, resource]) => ({
        binding: Number(binding),
        resource,
      })),
    });
  }
}
