/**
 * A GPU device on the CPU for one kind of kernel, which the web runtime's way of calling needs: buffers of words, one
 * uniform buffer of scalars, and commands that take effect when they are submitted, in order.
 */

const BYTES = 64;
/** Of every storage buffer. */
export const WORDS = BYTES / 4;

export class ComputedBuffer {
  readonly bytes: Uint8Array;
  destroyed = false;
  constructor({ size }: { readonly size: number }) {
    this.bytes = new Uint8Array(size);
  }
  get size(): number {
    return this.bytes.length;
  }
  get words(): Int32Array {
    return new Int32Array(this.bytes.buffer);
  }
  destroy(): void {
    this.destroyed = true;
  }
}

interface Layout {
  readonly entries: readonly { readonly binding: number; readonly buffer: GPUBufferBindingLayout }[];
}
interface Bound {
  readonly layout: Layout;
  readonly entries: readonly {
    readonly binding: number;
    readonly resource: { readonly buffer: ComputedBuffer; readonly offset?: number; readonly size?: number };
  }[];
}
type Command = () => void;

/** Counts what it is asked for. */
export class ComputingDevice {
  readonly calls = { bindGroups: 0, writes: 0, passes: 0, dispatches: 0 };
  readonly buffers: ComputedBuffer[] = [];

  readonly queue = {
    submit: (all: readonly (readonly Command[])[]): void => {
      for (const command of all.flat()) command();
    },
    writeBuffer: (
      buffer: ComputedBuffer,
      offset: number,
      data: ArrayBuffer | Int32Array,
      from = 0,
      size?: number,
    ) => {
      this.calls.writes += 1;
      const item = ArrayBuffer.isView(data) ? 4 : 1;
      const bytes = ArrayBuffer.isView(data)
        ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
        : new Uint8Array(data);
      const end = size === undefined ? bytes.length : (from + size) * item;
      buffer.bytes.set(bytes.subarray(from * item, end), offset);
    },
  };

  createBuffer = (descriptor: { readonly size: number }): ComputedBuffer => {
    const buffer = new ComputedBuffer(descriptor);
    this.buffers.push(buffer);
    return buffer;
  };

  createBindGroupLayout = (descriptor: Layout): Layout => descriptor;

  createBindGroup = (descriptor: Bound): Bound => {
    this.calls.bindGroups += 1;
    return descriptor;
  };

  createCommandEncoder = () => {
    const commands: Command[] = [];
    return {
      beginComputePass: () => {
        this.calls.passes += 1;
        let kernel = 0;
        let bound: Bound | undefined;
        let offset = 0;
        let ended = false;
        return {
          setPipeline: (pipeline: number): void => {
            kernel = pipeline;
          },
          setBindGroup: (_: number, group: Bound, offsets: readonly number[] = []): void => {
            const moves = group.layout.entries.some(({ buffer }) => buffer.hasDynamicOffset);
            if (moves !== (offsets.length === 1)) throw new Error("one offset for each moving buffer");
            bound = group;
            offset = offsets[0] ?? 0;
          },
          dispatchWorkgroups: (): void => {
            if (ended || !bound) throw new Error("no pass or no bind group");
            this.calls.dispatches += 1;
            const [k, group, at] = [kernel, bound, offset];
            commands.push(() => compute(k, group, at));
          },
          end: (): void => {
            ended = true;
          },
        };
      },
      copyBufferToBuffer: (from: ComputedBuffer, _: number, to: ComputedBuffer): void => {
        commands.push(() => {
          alive(from, to);
          to.bytes.set(from.bytes);
        });
      },
      finish: () => commands,
    };
  };

  get asGpu(): GPUDevice {
    return this as unknown as GPUDevice;
  }
}

function alive(...buffers: readonly ComputedBuffer[]): void {
  if (buffers.some(({ destroyed }) => destroyed)) throw new Error("a destroyed buffer is used");
}

/** The last storage buffer becomes a mix of all of them, the kernel's number and its scalars. */
function compute(kernel: number, { layout, entries }: Bound, moved: number): void {
  const buffers = entries.map(({ resource }) => resource.buffer);
  alive(...buffers);
  const words = layout.entries.map(({ binding, buffer }) => {
    const entry = entries.find((each) => each.binding === binding)?.resource;
    if (!entry) throw new Error("a binding is missing");
    const start = ((entry.offset ?? 0) + (buffer.hasDynamicOffset ? moved : 0)) / 4;
    return entry.buffer.words.subarray(start, start + (entry.size ?? entry.buffer.size) / 4);
  });
  const scalars = words.at(-1) as Int32Array;
  const target = words.at(-2) as Int32Array;
  const mixed = scalars.reduce((sum, each) => Math.imul(sum, 31) + each, kernel);
  for (let i = 0; i < WORDS; i++)
    target[i] = words.slice(0, -1).reduce((sum, each) => (Math.imul(sum, 3) + (each[i] ?? 0)) | 0, mixed);
}
