/**
 * How a library's shaders are compiled on a graphics card: the web runtime's own WebGPU context on a device that the test
 * decides about. Only the WebAssembly below it is made up.
 */
import type * as tvmjs from "@mlc-ai/web-runtime";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { Artifacts } from "../../src/engine/artifacts";
import { Gpu } from "../../src/engine/device";
import type { Library } from "../../src/engine/library";
import { loadModel } from "../../src/engine/model";
import { Runtime } from "../../src/engine/runtime";
import type { DeviceInfo } from "../../src/engine/types";
import { failure, says } from "./errors";
import { FakeDevice, gpuError } from "./fake-gpu";
import { system } from "./fixtures";

vi.mock("@mlc-ai/web-runtime", async (importOriginal) => {
  const original = await importOriginal<typeof tvmjs>();
  return { ...original, Instance: withoutWebAssembly(original.Instance) };
});

/** Settles when the test says that the weights have come. */
let weights: Promise<void>;
vi.mock("../../src/engine/weights", () => ({ loadWeights: () => weights }));
vi.mock("../../src/engine/library", () => ({ bindLibrary: () => ({}) as Library }));

const SHADERS = ["matmul_kernel", "rms_norm_kernel", "apply_penalty_inplace_kernel"];
/** Kernels that this engine never calls. */
const UNUSED = [
  "tree_attn_paged_kv_kernel",
  "batch_decode_paged_kv_sliding_window_kernel",
  "apply_bitmask_inplace_kernel",
];
/** What was registered in the library, in order. */
const registered: string[] = [];
let disposed = false;

/** The runtime's instance with its own way to WebGPU, above a library that has no more than shaders. */
function withoutWebAssembly({ prototype }: typeof tvmjs.Instance) {
  return class {
    readonly lib: Record<string, unknown> = {};
    readonly memory = {};
    readonly asyncifyHandler = { enabled: () => false };
    initWebGPU = prototype.initWebGPU;
    registerFunc = (): void => {};
    registerAsyncServerFunc = (): void => {};
    beginScope = (): void => {};
    endScope = (): void => {};
    webgpu = () => ({});
    detachFromCurrentScope = <T>(object: T): T => object;
    toPackedFunc = <T>(func: T): T => func;
    createVirtualMachine = () => ({ dispose: () => {}, getInternalModule: () => LIBRARY });
    dispose = (): void => {
      disposed = true;
    };
  };
}

const FUNCTIONS: Record<string, (...args: never[]) => unknown> = {
  "webgpu.get_fmap": () =>
    JSON.stringify(
      Object.fromEntries(
        [...SHADERS, ...UNUSED].map((name) => [
          name,
          { name, arg_types: ["handle", "int32"], launch_param_tags: ["paramWriteAccess:[1]", "blockIdx.x"] },
        ]),
      ),
    ),
  "webgpu.get_shader": (name: string) => `code of ${name}`,
  "webgpu.update_prebuild": (name: string, shader: unknown) => {
    expect(typeof shader).toBe("function");
    expect(disposed).toBe(false);
    registered.push(name);
  },
};
const LIBRARY = {
  getFunction: (name: string) =>
    Object.assign((...args: never[]) => FUNCTIONS[name]?.(...args), { dispose: () => {} }),
};

const INFO: DeviceInfo = {
  runtime: "webgpu",
  vendor: "made up",
  architecture: "",
  description: "",
  fallback: false,
  features: [],
};

/** A library on a device, whose shaders begin to be compiled. */
async function compiling(prepare: (device: FakeDevice) => void = () => {}, info: Partial<DeviceInfo> = {}) {
  const device = new FakeDevice();
  prepare(device);
  const gpu = new Gpu(device.asGpu, { ...INFO, ...info });
  const runtime = await Runtime.create(async () => ({}) as WebAssembly.Module, gpu, "solver");
  const fractions: number[] = [];
  let settled = false;
  const done = runtime.compileShaders(runtime.createMachine(), (fraction) => fractions.push(fraction));
  const noted = done.finally(() => {
    settled = true;
  });
  noted.catch(() => {});
  return { device, runtime, fractions, done, isSettled: () => settled };
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

beforeEach(() => {
  vi.stubGlobal("GPUShaderStage", { COMPUTE: 4 });
  registered.length = 0;
  disposed = false;
});

describe("shaders on a graphics card", () => {
  test("are all begun before one is done, and those that are never called are left out", async () => {
    const { device, isSettled } = await compiling();
    expect(device.compiling.map(({ code, entryPoint }) => [code, entryPoint])).toEqual(
      SHADERS.map((name) => [`code of ${name}`, name]),
    );
    await settle();
    expect([registered, isSettled(), device.compiledAtOnce]).toEqual([[], false, []]);
  });

  test("go into the library as each is done, and the progress counts them", async () => {
    const { device, fractions, done, isSettled } = await compiling();
    for (const [place, index] of [2, 0, 1].entries()) {
      expect(isSettled()).toBe(false);
      device.compiling[index]?.finish();
      await settle();
      expect(registered).toEqual([SHADERS[2], SHADERS[0], SHADERS[1]].slice(0, place + 1));
      expect(fractions).toEqual([1 / 3, 2 / 3, 1].slice(0, place + 1));
    }
    await done;
    expect(device.compiledAtOnce).toEqual([]);
  });

  test("one that cannot be compiled fails with gpu-validation, after the others", async () => {
    const { device, runtime, done, isSettled } = await compiling();
    const [first, second, third] = device.compiling;
    first?.finish();
    second?.refuse(
      new DOMException("rms_norm_kernel uses 20000 bytes of workgroup memory", "OperationError"),
    );
    await settle();
    expect(isSettled()).toBe(false);
    third?.finish();
    expect(await failure(() => done)).toMatch(
      says("gpu-validation", "rms_norm_kernel uses 20000 bytes of workgroup memory"),
    );
    runtime.dispose();
    await settle();
    expect(registered).toEqual([SHADERS[0], SHADERS[2]]);
  });

  test("one whose code the device refuses fails with gpu-validation", async () => {
    const { device, done } = await compiling((fake) => {
      fake.createShaderModule = ({ code }) => {
        if (code.includes("rms_norm"))
          fake.scopeErrors.push(gpuError("validation", "unknown identifier 'x' in the shader"));
        return { code };
      };
    });
    for (const { finish } of device.compiling) finish();
    expect(await failure(() => done)).toMatch(says("gpu-validation", "unknown identifier 'x' in the shader"));
  });
});

test("shaders are compiled while the weights arrive, and a model is freed only when both have ended", async () => {
  let arrive = (): void => {};
  weights = new Promise((resolve) => {
    arrive = resolve;
  });
  const device = new FakeDevice();
  const gpu = new Gpu(device.asGpu, INFO);
  const artifacts = { readModule: async () => ({}) } as unknown as Artifacts;
  const [spec] = system().agents;
  if (!spec) throw new Error("the system has no agents");
  const told: string[] = [];
  const loading = loadModel(gpu, artifacts, spec, "paper", 1, (phase, fraction) =>
    told.push(`${phase} ${fraction.toFixed(2)}`),
  );
  loading.catch(() => {});
  await settle();
  expect(device.compiling).toHaveLength(3);
  device.compiling[0]?.finish();
  device.compiling[1]?.finish();
  await settle();
  expect(told).toEqual(["compile 0.33", "compile 0.67"]);
  device.compiling[2]?.refuse(new DOMException("no such binding", "OperationError"));
  await settle();
  expect(disposed).toBe(false);
  arrive();
  expect(await failure(() => loading)).toMatch(says("gpu-validation", "no such binding"));
  expect(disposed).toBe(true);
});

test("an adapter in software compiles a shader when it is first called, so nothing is compiled here", async () => {
  const { device, fractions, done } = await compiling(() => {}, { fallback: true });
  await done;
  expect([device.compiling, device.compiledAtOnce, fractions, registered]).toEqual([[], [], [1], []]);
});
