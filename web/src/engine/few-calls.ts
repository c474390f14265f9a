/**
 * Makes fewer calls to a GPU device than the web runtime asks for, with the same results.
 *
 * For every kernel the runtime creates a bind group, writes the kernel's scalars into a uniform buffer of their own, and
 * begins a compute pass. Each of these is a call into the browser, and a step of a large model has hundreds of kernels.
 * Here
 *
 * - a bind group is remembered by its layout and buffers. Every buffer has a number that no other buffer ever gets, so
 *   nothing that was remembered fits a buffer that was made later, even if the memory is the same;
 * - the scalars of all kernels of a command buffer lie in one uniform buffer, at offsets that each kernel is told. They
 *   are written in one call when the command buffer is submitted, and only if they differ from those of the one before;
 * - kernels share a compute pass until a copy comes between them. WebGPU orders the dispatches of one pass as it orders
 *   passes, because each dispatch is a usage scope of its own (WebGPU, "Synchronization").
 *
 * The methods are replaced on the device, on its queue, and on the encoders that the device creates.
 */

/** Bytes between the scalars of two kernels: WebGPU's default `minUniformBufferOffsetAlignment`. */
const SLOT_BYTES = 256;
const SLOT_WORDS = SLOT_BYTES / 4;
/** GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST. */
const SCALAR_USAGE = 0x40 | 0x08;
/** Kernels whose scalars fit one uniform buffer. A command buffer with more of them takes several. */
const SLOTS = 512;
/** Bind groups that are remembered of one layout: one per layer for each order in which the runtime uses its buffers. */
const MOST_GROUPS = 2048;

/** What is known of a buffer. */
interface KnownBuffer {
  /** No other buffer has it. */
  readonly number: number;
  /** What was written into a buffer that holds scalars and nothing else; undefined for all other buffers. */
  scalars: Int32Array | undefined;
  /** Where bind groups are remembered that no longer fit anything once it is destroyed. */
  readonly remembered: (readonly [groups: Map<number, Group>, hash: number])[];
}

/** A bind group that is remembered. */
interface Group {
  readonly uniforms: Uniforms;
  readonly bindings: readonly GPUBufferBinding[];
  readonly group: GPUBindGroup;
}

/** What is known of a layout that the runtime made: where the scalars are bound, and its bind groups by hash. */
interface KnownLayout {
  readonly scalars: number;
  readonly groups: Map<number, Group>;
}

/** What `createBindGroup` gives for such a layout. The bind group is found once the uniform buffer is known. */
class Pending {
  constructor(
    readonly layout: GPUBindGroupLayout,
    readonly known: KnownLayout,
    readonly bindings: readonly GPUBufferBinding[],
    readonly hash: number,
    readonly scalars: Int32Array,
    readonly scalarBytes: number,
  ) {}
}

/** A uniform buffer with the scalars of one command buffer's kernels, in order. */
class Uniforms {
  readonly #words = new Int32Array(SLOTS * SLOT_WORDS);
  #used = 0;
  /** The words that differ from those on the GPU. */
  #from = Number.POSITIVE_INFINITY;
  #to = 0;

  constructor(
    readonly buffer: GPUBuffer,
    readonly number: number,
  ) {}

  get full(): boolean {
    return this.#used === SLOTS;
  }

  /** @returns the offset of the scalars in bytes. */
  add(scalars: Int32Array): number {
    const start = this.#used * SLOT_WORDS;
    this.#used += 1;
    for (let i = 0; i < scalars.length; i++) {
      const at = start + i;
      if (this.#words[at] === scalars[i]) continue;
      this.#words[at] = scalars[i] as number;
      if (at < this.#from) this.#from = at;
      if (at >= this.#to) this.#to = at + 1;
    }
    return start * 4;
  }

  /** Writes what differs, before the commands that read it are submitted. */
  write(write: GPUQueue["writeBuffer"]): void {
    if (this.#to > 0) write(this.buffer, this.#from * 4, this.#words, this.#from, this.#to - this.#from);
    this.#from = Number.POSITIVE_INFINITY;
    this.#to = 0;
  }

  /** Begins with the first slot again; what was written is still there. */
  restart(): void {
    this.#used = 0;
  }
}

export class FewCalls {
  readonly #buffers = new WeakMap<GPUBuffer, KnownBuffer>();
  readonly #layouts = new WeakMap<GPUBindGroupLayout, KnownLayout>();
  /** The uniform buffers that a command buffer needs, until it is submitted. */
  readonly #needs = new WeakMap<GPUCommandBuffer, readonly Uniforms[]>();
  readonly #uniforms: Uniforms[] = [];
  /** The uniform buffers that no command buffer needs. */
  readonly #free: Uniforms[] = [];
  readonly #createBindGroup: GPUDevice["createBindGroup"];
  readonly #createBuffer: GPUDevice["createBuffer"];
  readonly #write: GPUQueue["writeBuffer"];
  #number = 0;

  constructor(device: GPUDevice) {
    const { queue } = device;
    this.#createBindGroup = device.createBindGroup.bind(device);
    this.#createBuffer = device.createBuffer.bind(device);
    this.#write = queue.writeBuffer.bind(queue);
    const createLayout = device.createBindGroupLayout.bind(device);
    const createEncoder = device.createCommandEncoder.bind(device);
    const submit = queue.submit.bind(queue);
    device.createBuffer = (descriptor) => this.#buffer(descriptor);
    device.createBindGroupLayout = (descriptor) => this.#layout(descriptor, createLayout);
    device.createBindGroup = (descriptor) => this.#group(descriptor);
    device.createCommandEncoder = (descriptor) => this.#encoder(createEncoder(descriptor));
    queue.writeBuffer = (buffer, offset, data, dataOffset, size) => {
      const scalars = this.#buffers.get(buffer)?.scalars;
      if (scalars) setBytes(scalars, offset, data, dataOffset, size);
      else this.#write(buffer, offset, data, dataOffset, size);
    };
    queue.submit = (commands) => {
      const list = [...commands];
      const needed = list.flatMap((each) => this.#needs.get(each) ?? []);
      for (const uniforms of needed) uniforms.write(this.#write);
      submit(list);
      for (const uniforms of needed) uniforms.restart();
      // The one that was taken first is taken first again, because its scalars are the likeliest to be the same.
      this.#free.push(...needed.reverse());
    };
  }

  /** Frees the uniform buffers. */
  dispose(): void {
    for (const { buffer } of this.#uniforms.splice(0)) buffer.destroy();
    this.#free.length = 0;
  }

  #buffer(descriptor: GPUBufferDescriptor): GPUBuffer {
    const buffer = this.#createBuffer(descriptor);
    const { size, usage } = descriptor;
    const holdsScalars = usage === SCALAR_USAGE && size <= SLOT_BYTES;
    this.#number += 1;
    const known: KnownBuffer = {
      number: this.#number,
      scalars: holdsScalars ? new Int32Array(size / 4) : undefined,
      remembered: [],
    };
    this.#buffers.set(buffer, known);
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      // Otherwise every run would leave the bind groups of its own buffers behind, in this process and in the GPU's.
      for (const [groups, hash] of known.remembered.splice(0)) groups.delete(hash);
      destroy();
    };
    return buffer;
  }

  /** Lets a layout with one uniform buffer take it at an offset that each dispatch gives. */
  #layout(
    descriptor: GPUBindGroupLayoutDescriptor,
    create: GPUDevice["createBindGroupLayout"],
  ): GPUBindGroupLayout {
    const entries = [...descriptor.entries];
    const uniform = entries.filter(({ buffer }) => buffer?.type === "uniform");
    const [scalars] = uniform;
    if (!scalars || uniform.length > 1 || entries.some(({ buffer }) => !buffer)) return create(descriptor);
    const told = { ...scalars, buffer: { ...scalars.buffer, hasDynamicOffset: true } };
    const layout = create({
      ...descriptor,
      entries: entries.map((each) => (each === scalars ? told : each)),
    });
    this.#layouts.set(layout, { scalars: scalars.binding, groups: new Map() });
    return layout;
  }

  #group(descriptor: GPUBindGroupDescriptor): GPUBindGroup {
    const known = this.#layouts.get(descriptor.layout);
    if (!known) {
      // This group reads its uniform buffers from the GPU.
      for (const { resource } of descriptor.entries)
        if ("buffer" in resource) this.#materialise(resource.buffer);
      return this.#createBindGroup(descriptor);
    }
    const bindings: GPUBufferBinding[] = [];
    let hash = 0x811c9dc5;
    let scalars: Int32Array | undefined;
    let scalarBytes = 0;
    for (const { binding, resource } of descriptor.entries) {
      const bound = resource as GPUBufferBinding;
      const buffer = this.#buffers.get(bound.buffer);
      bindings[binding] = bound;
      if (binding !== known.scalars) {
        hash = mix(hash, buffer?.number ?? 0);
      } else {
        scalars = buffer?.scalars;
        scalarBytes = bound.size ?? bound.buffer.size;
      }
    }
    if (!scalars) throw new Error("a kernel's scalars are not in a buffer of their own");
    const pending = new Pending(descriptor.layout, known, bindings, hash, scalars, scalarBytes);
    return pending as unknown as GPUBindGroup;
  }

  /** Writes the scalars of a buffer into it, and from now on every write. */
  #materialise(buffer: GPUBuffer): void {
    const known = this.#buffers.get(buffer);
    if (known?.scalars) this.#write(buffer, 0, known.scalars);
    if (known) known.scalars = undefined;
  }

  #encoder(encoder: GPUCommandEncoder): GPUCommandEncoder {
    const begin = encoder.beginComputePass.bind(encoder);
    const copy = encoder.copyBufferToBuffer.bind(encoder) as (...copied: unknown[]) => undefined;
    const finish = encoder.finish.bind(encoder);
    const needed: Uniforms[] = [];
    let pass: GPUComputePassEncoder | undefined;
    let part: GPUComputePassEncoder | undefined;
    const end = (): void => {
      pass?.end();
      pass = part = undefined;
    };
    encoder.beginComputePass = (descriptor) => {
      pass ??= begin(descriptor);
      part ??= this.#part(pass, needed);
      return part;
    };
    encoder.copyBufferToBuffer = (...copied: unknown[]) => {
      end();
      return copy(...copied);
    };
    encoder.finish = (descriptor) => {
      end();
      const commands = finish(descriptor);
      if (needed.length > 0) this.#needs.set(commands, needed);
      return commands;
    };
    return encoder;
  }

  /** What the runtime takes for passes of their own, and what is one pass. */
  #part(pass: GPUComputePassEncoder, needed: Uniforms[]): GPUComputePassEncoder {
    const part: Pick<GPUComputePassEncoder, "setPipeline" | "setBindGroup" | "dispatchWorkgroups" | "end"> = {
      setPipeline: (pipeline) => pass.setPipeline(pipeline),
      setBindGroup: (index: number, group: GPUBindGroup | Pending | null | undefined) => {
        if (group instanceof Pending) this.#bind(pass, index, group, needed);
        else pass.setBindGroup(index, group ?? null);
      },
      dispatchWorkgroups: (x, y, z) => pass.dispatchWorkgroups(x, y, z),
      end: () => {},
    };
    return part as GPUComputePassEncoder;
  }

  /** Binds a group of the runtime, and gives its scalars a place in the uniform buffer. */
  #bind(pass: GPUComputePassEncoder, index: number, pending: Pending, needed: Uniforms[]): void {
    let uniforms = needed.at(-1);
    if (!uniforms || uniforms.full) {
      uniforms = this.#free.pop() ?? this.#newUniforms();
      needed.push(uniforms);
    }
    pass.setBindGroup(index, this.#remembered(pending, uniforms), [uniforms.add(pending.scalars)]);
  }

  #newUniforms(): Uniforms {
    const buffer = this.#createBuffer({ size: SLOTS * SLOT_BYTES, usage: SCALAR_USAGE });
    this.#number += 1;
    const uniforms = new Uniforms(buffer, this.#number);
    this.#uniforms.push(uniforms);
    return uniforms;
  }

  /** The bind group for these buffers; it is created if it is not remembered. */
  #remembered(pending: Pending, uniforms: Uniforms): GPUBindGroup {
    const { known, layout, bindings, scalarBytes } = pending;
    const hash = mix(mix(pending.hash, uniforms.number), scalarBytes);
    const found = known.groups.get(hash);
    if (found && fits(found, pending, uniforms)) return found.group;
    const entries = bindings.map((resource, binding) => ({
      binding,
      resource:
        binding === known.scalars ? { buffer: uniforms.buffer, offset: 0, size: scalarBytes } : resource,
    }));
    const group = this.#createBindGroup({ layout, entries });
    const [oldest] = known.groups.keys();
    if (known.groups.size >= MOST_GROUPS && oldest !== undefined) known.groups.delete(oldest);
    known.groups.set(hash, { uniforms, bindings, group });
    this.#newest(bindings, known.scalars)?.remembered.push([known.groups, hash]);
    return group;
  }

  /** The buffer that was made last, which is destroyed first: weights stay, and what a run needs is made for it. */
  #newest(bindings: readonly GPUBufferBinding[], scalars: number): KnownBuffer | undefined {
    const known = bindings.flatMap(({ buffer }, binding) =>
      binding === scalars ? [] : (this.#buffers.get(buffer) ?? []),
    );
    return known.toSorted((a, b) => b.number - a.number)[0];
  }
}

/** Adds a number to a hash (FNV-1a, by words). */
function mix(hash: number, number: number): number {
  return Math.imul(hash ^ number, 0x01000193);
}

/** Whether a remembered bind group binds exactly these buffers. */
function fits(group: Group, { known, bindings, scalarBytes }: Pending, uniforms: Uniforms): boolean {
  if (group.uniforms !== uniforms || group.bindings.length !== bindings.length) return false;
  for (let binding = 0; binding < bindings.length; binding++) {
    const [one, other] = [bindings[binding], group.bindings[binding]];
    const same =
      binding === known.scalars
        ? (other?.size ?? other?.buffer.size) === scalarBytes
        : one?.buffer === other?.buffer && one?.offset === other?.offset && one?.size === other?.size;
    if (!same) return false;
  }
  return true;
}

/** Does to scalars what `writeBuffer` would do to a buffer. */
function setBytes(
  scalars: Int32Array,
  offset: number,
  data: AllowSharedBufferSource,
  dataOffset = 0,
  size?: number,
): void {
  const itemBytes = "BYTES_PER_ELEMENT" in data ? (data.BYTES_PER_ELEMENT as number) : 1;
  const whole = ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
  const from = dataOffset * itemBytes;
  const to = size === undefined ? whole.length : from + size * itemBytes;
  new Uint8Array(scalars.buffer).set(whole.subarray(from, to), offset);
}
