/** The calls that few-calls.ts saves, and that nothing else changes: the same commands with it and without it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FewCalls } from "../../src/engine/few-calls";
import { type ComputedBuffer, ComputingDevice, WORDS } from "./computing-gpu";

const STORAGE = 128 | 8 | 4;

/** Calls a device as the web runtime does: a bind group, a uniform buffer and a pass for every kernel. */
class Runtime {
  readonly device: GPUDevice;
  readonly tensors = new Map<number, GPUBuffer>();
  readonly #layouts: GPUBindGroupLayout[];
  readonly #pool: GPUBuffer[] = [];
  #pending: { encoder: GPUCommandEncoder; dispatches: number } | undefined;

  /** @param raw - may be shared with another runtime, whose layer then serves both. */
  constructor(
    fewCalls: boolean,
    readonly raw = new ComputingDevice(),
  ) {
    this.device = raw.asGpu;
    if (fewCalls) new FewCalls(this.device);
    this.#layouts = [0, 1, 2].map(() => this.#layout());
  }

  #layout(): GPUBindGroupLayout {
    const types = ["read-only-storage", "storage", "uniform"] as const;
    return this.device.createBindGroupLayout({
      entries: types.map((type, binding) => ({ binding, visibility: 4, buffer: { type } })),
    });
  }

  create(name: number, first: number): void {
    this.free(name);
    const buffer = this.device.createBuffer({ size: WORDS * 4, usage: STORAGE });
    this.tensors.set(name, buffer);
    this.device.queue.writeBuffer(buffer, 0, new Int32Array(WORDS).fill(first));
  }

  free(name: number): void {
    const buffer = this.tensors.get(name);
    if (!buffer) return;
    this.flush();
    buffer.destroy();
    this.tensors.delete(name);
  }

  run(kernel: number, from: number, to: number, scalars: readonly number[]): void {
    const [source, target] = [this.tensors.get(from), this.tensors.get(to)];
    if (!source || !target) return;
    const pending = this.#begin();
    const at = pending.dispatches++;
    this.#pool[at] ??= this.device.createBuffer({ size: 16, usage: 64 | 8 });
    const uniform = this.#pool[at] as GPUBuffer;
    this.device.queue.writeBuffer(uniform, 0, Int32Array.from(scalars).buffer);
    const pass = pending.encoder.beginComputePass();
    pass.setPipeline(kernel as unknown as GPUComputePipeline);
    const resources = [{ buffer: source }, { buffer: target }, { buffer: uniform, size: scalars.length * 4 }];
    pass.setBindGroup(
      0,
      this.device.createBindGroup({
        layout: this.#layouts[kernel] as GPUBindGroupLayout,
        entries: resources.map((resource, binding) => ({ binding, resource })),
      }),
    );
    pass.dispatchWorkgroups(1);
    pass.end();
  }

  copy(from: number, to: number): void {
    const [source, target] = [this.tensors.get(from), this.tensors.get(to)];
    if (source && target) this.#begin().encoder.copyBufferToBuffer(source, 0, target, 0, WORDS * 4);
  }

  write(name: number, value: number): void {
    const buffer = this.tensors.get(name);
    if (!buffer) return;
    this.flush();
    this.device.queue.writeBuffer(buffer, 0, new Int32Array(WORDS).fill(value));
  }

  flush(): void {
    if (this.#pending) this.device.queue.submit([this.#pending.encoder.finish()]);
    this.#pending = undefined;
  }

  /** What the tensors hold. */
  read(): Record<string, readonly number[]> {
    this.flush();
    const entries = [...this.tensors].map(
      ([name, buffer]) => [name, [...(buffer as unknown as ComputedBuffer).words]] as const,
    );
    return Object.fromEntries(entries);
  }

  #begin(): { encoder: GPUCommandEncoder; dispatches: number } {
    this.#pending ??= { encoder: this.device.createCommandEncoder(), dispatches: 0 };
    return this.#pending;
  }
}

const name = fc.integer({ min: 0, max: 3 });
const value = fc.integer({ min: -3, max: 3 });
const action = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("create" as const), name, value }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("free" as const), name }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("run" as const),
      kernel: fc.integer({ min: 0, max: 2 }),
      name,
      to: name,
      scalars: fc.array(value, { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("copy" as const), name, to: name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("write" as const), name, value }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("flush" as const) }) },
);
type Action = typeof action extends fc.Arbitrary<infer A> ? A : never;

function perform(runtime: Runtime, each: Action): void {
  if (each.kind === "create") runtime.create(each.name, each.value);
  else if (each.kind === "free") runtime.free(each.name);
  else if (each.kind === "run") runtime.run(each.kernel, each.name, each.to, each.scalars);
  else if (each.kind === "copy") runtime.copy(each.name, each.to);
  else if (each.kind === "write") runtime.write(each.name, each.value);
  else runtime.flush();
}

test("any commands give the same words with fewer calls", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const [merged, plain] = [new Runtime(true), new Runtime(false)];
      for (const each of actions) for (const runtime of [merged, plain]) perform(runtime, each);
      expect(merged.read()).toEqual(plain.read());
      expect(merged.raw.calls.dispatches).toBe(plain.raw.calls.dispatches);
    }),
    { numRuns: 300 },
  );
});

/** A step as the runtime calls it: two hundred kernels, a copy, and one scalar that differs from step to step. */
function step(runtime: Runtime, position: number): void {
  for (let kernel = 0; kernel < 200; kernel++)
    runtime.run(kernel % 3, kernel % 4, (kernel + 1) % 4, [7, kernel === 5 ? position : kernel]);
  runtime.copy(0, 1);
  runtime.run(0, 1, 2, [1]);
  runtime.flush();
}

describe("a step like the one before", () => {
  const counted = (fewCalls: boolean): Record<string, number> => {
    const runtime = new Runtime(fewCalls);
    for (const each of [0, 1, 2, 3]) runtime.create(each, each + 1);
    step(runtime, 1);
    const before = { ...runtime.raw.calls };
    step(runtime, 2);
    const after = Object.entries(runtime.raw.calls) as [keyof typeof before, number][];
    return Object.fromEntries(after.map(([key, count]) => [key, count - before[key]]));
  };

  test("creates no bind group, writes once and begins two passes", () => {
    expect(counted(true)).toEqual({ bindGroups: 0, writes: 1, passes: 2, dispatches: 201 });
    expect(counted(false)).toEqual({ bindGroups: 201, writes: 201, passes: 201, dispatches: 201 });
  });

  test("writes nothing if its scalars are the same", () => {
    const runtime = new Runtime(true);
    for (const each of [0, 1, 2, 3]) runtime.create(each, each + 1);
    step(runtime, 1);
    const { writes } = runtime.raw.calls;
    step(runtime, 1);
    expect(runtime.raw.calls.writes).toBe(writes);
  });
});

test("a buffer made in the place of a freed one gets a bind group of its own", () => {
  const runtime = new Runtime(true);
  runtime.create(0, 1);
  runtime.create(1, 2);
  runtime.run(0, 0, 1, [1]);
  runtime.flush();
  const { bindGroups } = runtime.raw.calls;
  // The device would refuse a command with a destroyed buffer.
  runtime.create(0, 5);
  runtime.run(0, 0, 1, [1]);
  runtime.flush();
  expect(runtime.raw.calls.bindGroups).toBe(bindGroups + 1);
  const plain = new Runtime(false);
  plain.create(0, 1);
  plain.create(1, 2);
  plain.run(0, 0, 1, [1]);
  plain.create(0, 5);
  plain.run(0, 0, 1, [1]);
  expect(runtime.read()).toEqual(plain.read());
});

test("command buffers of several runtimes that wait at the same time have scalars of their own", () => {
  const results = [true, false].map((fewCalls) => {
    const one = new Runtime(fewCalls);
    const other = new Runtime(false, one.raw);
    for (const runtime of [one, other]) for (const each of [0, 1]) runtime.create(each, each + 1);
    for (const scalar of [3, 4, 5])
      for (const runtime of [one, other]) runtime.run(0, 0, 1, [scalar, runtime === one ? 1 : 2]);
    other.flush();
    one.run(1, 1, 0, [9]);
    return [one.read(), other.read()];
  });
  expect(results[0]).toEqual(results[1]);
});

test("many kernels in one command buffer take several uniform buffers", () => {
  const [merged, plain] = [new Runtime(true), new Runtime(false)];
  for (const runtime of [merged, plain]) {
    for (const each of [0, 1, 2, 3]) runtime.create(each, each);
    for (let kernel = 0; kernel < 1500; kernel++)
      runtime.run(kernel % 3, kernel % 4, (kernel * 7 + 1) % 4, [kernel, kernel % 11]);
  }
  expect(merged.read()).toEqual(plain.read());
});

test("a group of another layout reads its uniform buffer from the GPU, whenever it was written", () => {
  const raw = new ComputingDevice();
  new FewCalls(raw.asGpu);
  const device = raw.asGpu;
  const types = ["storage", "storage", "uniform"] as const;
  const layout = { entries: types.map((type, binding) => ({ binding, buffer: { type } })) };
  const uniform = device.createBuffer({ size: 16, usage: 64 | 8 });
  const target = device.createBuffer({ size: WORDS * 4, usage: STORAGE });
  device.queue.writeBuffer(uniform, 0, Int32Array.of(4, 4, 4, 4));
  const resources = [{ buffer: target }, { buffer: target }, { buffer: uniform }];
  const entries = resources.map((resource, binding) => ({ binding, resource }));
  const group = device.createBindGroup({ layout: layout as unknown as GPUBindGroupLayout, entries });
  const look = (): Int32Array => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
    device.queue.submit([encoder.finish()]);
    return (target as unknown as ComputedBuffer).words.slice();
  };
  const first = look();
  device.queue.writeBuffer(target, 0, new Int32Array(WORDS));
  device.queue.writeBuffer(uniform, 4, Int32Array.of(5));
  const mixed = (scalars: number[]): number => scalars.reduce((sum, each) => Math.imul(sum, 31) + each, 0);
  expect(first[0]).toBe(9 * mixed([4, 4, 4, 4]));
  expect(look()[0]).toBe(9 * mixed([4, 5, 4, 4]));
});
