import { describe, expect, test, vi } from "vitest";
import { Gpu, openDevice } from "../../src/engine/device";
import { fetchBytes } from "../../src/engine/download";
import { openCache } from "../../src/engine/kept";
import type { DeviceInfo } from "../../src/engine/types";
import { failure, says } from "./errors";
import { FakeDevice, fakeGpu, gpuError } from "./fake-gpu";
import { agentJson, system } from "./fixtures";

const INFO: DeviceInfo = {
  runtime: "webgpu",
  vendor: "",
  architecture: "",
  description: "",
  fallback: true,
  features: [],
};
const open = (device = new FakeDevice()) => ({ device, gpu: new Gpu(device.asGpu, INFO) });

describe("opening a device", () => {
  test("asks for what the system needs and no more", async () => {
    const { gpu, requests } = fakeGpu({ features: ["shader-f16", "timestamp-query"] });
    const opened = await openDevice(gpu, system({ required_features: ["shader-f16"] }));
    expect(requests[0]?.requiredFeatures).toEqual(["shader-f16"]);
    expect(requests[0]?.requiredLimits).toEqual({
      maxBufferSize: 1000,
      maxStorageBufferBindingSize: 900,
      maxStorageBuffersPerShaderStage: 10,
    });
    expect(opened.info).toMatchObject({ vendor: "fake", fallback: true });
  });

  test("takes a device that offers what WebGPU promises, for agents that need no more", async () => {
    const promised = {
      maxBufferSize: 256 * 2 ** 20,
      maxStorageBufferBindingSize: 128 * 2 ** 20,
      maxStorageBuffersPerShaderStage: 8,
      maxComputeWorkgroupStorageSize: 16384,
      maxComputeInvocationsPerWorkgroup: 256,
    };
    const { gpu, requests } = fakeGpu({ limits: promised });
    const needed = { maxComputeWorkgroupStorageSize: 14898, maxStorageBuffersPerShaderStage: 8 };
    await openDevice(gpu, system({ required_limits: { ...needed, maxStorageBufferBindingSize: 77791232 } }));
    expect(requests[0]?.requiredLimits).toEqual({
      ...needed,
      maxBufferSize: promised.maxBufferSize,
      maxStorageBufferBindingSize: promised.maxStorageBufferBindingSize,
    });
    const more = system({ required_limits: { maxComputeWorkgroupStorageSize: 16385 } });
    expect(await failure(() => openDevice(gpu, more))).toMatch(
      says("insufficient-limits", "needs maxComputeWorkgroupStorageSize 16385, this GPU offers 16384"),
    );
  });

  const half = { agents: [{ ...agentJson("a", 8, []), dtype: "float16" }], edges: [] };
  const cases: readonly [
    string,
    Parameters<typeof fakeGpu>[0],
    Record<string, unknown>,
    Parameters<typeof says>,
  ][] = [
    ["there is no adapter", { none: true }, {}, ["no-webgpu", "no graphics adapter"]],
    [
      "a feature is missing",
      {},
      { required_features: ["shader-f16"] },
      ["missing-feature", "lacks shader-f16"],
    ],
    ["an agent is float16", {}, half, ["missing-feature", "lacks shader-f16"]],
    [
      "a limit is too small",
      { limits: { maxStorageBuffersPerShaderStage: 8 } },
      {},
      ["insufficient-limits", "maxStorageBuffersPerShaderStage 10, this GPU offers 8"],
    ],
    [
      "a weight does not fit a buffer",
      {},
      { required_limits: { maxBufferSize: 2000 } },
      ["insufficient-limits", "needs maxBufferSize 2000, this GPU offers 1000"],
    ],
    [
      "the manifest names an unknown limit",
      {},
      { required_limits: { maxFun: 1 } },
      ["bad-manifest", "unknown WebGPU limit 'maxFun'"],
    ],
  ];
  test.each(cases)("stops with one clear line when %s", async (_, offer, changes, [code, part]) => {
    expect(await failure(() => openDevice(fakeGpu(offer).gpu, system(changes)))).toMatch(says(code, part));
  });

  test("stops with one clear line when the browser has no WebGPU", async () => {
    expect(await failure(() => openDevice(undefined, system()))).toMatch(
      says("no-webgpu", "this browser has no WebGPU"),
    );
  });
});

describe("a browser that never answers", () => {
  const never = () => new Promise<never>(() => {});
  const { gpu: working } = fakeGpu({});
  const cases: readonly [string, () => Promise<unknown>, Parameters<typeof says>][] = [
    [
      "requestAdapter",
      () => openDevice({ requestAdapter: never } as unknown as GPU, system()),
      ["no-webgpu", "gave no graphics card within 60 seconds"],
    ],
    [
      "requestDevice",
      async () => {
        const adapter = await working.requestAdapter();
        const gpu = { requestAdapter: async () => Object.assign({}, adapter, { requestDevice: never }) };
        return openDevice(gpu as unknown as GPU, system());
      },
      ["no-webgpu", "gave no graphics card within 60 seconds"],
    ],
    [
      "a manifest's request",
      () => fetchBytes("https://host.test/system.json", undefined, never),
      ["download", "nothing arrived for 30 seconds"],
    ],
  ];
  test.each(cases)("is given up: %s", async (_, work, [code, part]) => {
    vi.useFakeTimers();
    try {
      const given = failure(work);
      await vi.advanceTimersByTimeAsync(61_000);
      expect(await given).toMatch(says(code, part));
    } finally {
      vi.useRealTimers();
    }
  });

  test("gets a second request for a manifest, unless the server refuses it", async () => {
    const fetch = vi.fn(async () => new Response("x"));
    fetch.mockRejectedValueOnce(new TypeError("Failed to fetch"));
    expect(await fetchBytes("https://host.test/s.json", undefined, fetch)).toEqual(Uint8Array.of(120));
    const refused = vi.fn(async () => new Response("", { status: 403 }));
    expect(await failure(() => fetchBytes("https://host.test/s.json", undefined, refused))).toMatch(
      says("download", "answered 403"),
    );
    expect([fetch.mock.calls.length, refused.mock.calls.length]).toEqual([2, 1]);
  });

  test.each([
    ["does not answer", never],
    [
      "is refused",
      () => {
        throw new DOMException("not here", "SecurityError");
      },
    ],
  ])("does without a cache whose opening %s", async (_, open) => {
    vi.useFakeTimers();
    vi.stubGlobal("caches", { open });
    try {
      const opening = openCache(true);
      await vi.advanceTimersByTimeAsync(31_000);
      expect(await opening).toBeUndefined();
    } finally {
      vi.unstubAllGlobals();
      vi.useRealTimers();
    }
  });
});

describe("a device on which something goes wrong", () => {
  test("gives an error that a scope captured, at the verdict and ever after", async () => {
    const { device, gpu } = open();
    device.scopeErrors.push(gpuError("validation", "bind group is wrong"));
    expect(gpu.watch(() => 7)).toBe(7);
    expect(device.scopes).toBe(0);
    expect(await failure(() => gpu.verdict())).toMatch(says("gpu-validation", "bind group is wrong"));
    expect(await failure(() => gpu.watch(() => 7))).toMatch(says("gpu-validation", "bind group is wrong"));
  });

  test("that throws its own error, which is no Error, still is told in words", async () => {
    const { gpu } = open();
    const thrown = await gpu.explain(gpuError("out-of-memory", "no room for a buffer"));
    expect(thrown).toMatchObject({ code: "out-of-memory", message: "no room for a buffer" });
  });

  test("gives an error that nobody captured", async () => {
    const { device, gpu } = open();
    device.uncaptured(gpuError("out-of-memory", "no more"));
    expect(await failure(() => gpu.verdict())).toMatch(says("out-of-memory", "no more"));
  });

  test("gives an error that the web runtime captured in a scope of its own", async () => {
    const { device, gpu } = open();
    device.scopeErrors.push(gpuError("out-of-memory", "buffer"));
    await device.asGpu.popErrorScope();
    expect(await failure(async () => gpu.check())).toMatch(says("out-of-memory", "buffer"));
  });

  test("keeps the first of several errors", async () => {
    const { device, gpu } = open();
    device.uncaptured(gpuError("validation", "first"));
    device.uncaptured(gpuError("validation", "second"));
    expect(await failure(async () => gpu.check())).toContain("first");
  });

  test("says that it was lost, to whoever waits and to whoever calls", async () => {
    const { device, gpu } = open();
    device.lose("the GPU process crashed");
    expect((await gpu.lost).code).toBe("device-lost");
    expect(await failure(async () => gpu.check())).toMatch(says("device-lost", "the GPU process crashed"));
  });

  test("explains what was thrown by a loss that it reports a moment later", async () => {
    const { device, gpu } = open();
    const explained = gpu.explain(new TypeError("undefined is not a function"));
    device.lose("the GPU process crashed");
    expect((await explained).code).toBe("device-lost");
    expect((await open().gpu.explain(new TypeError("our own bug"))).code).toBe("internal");
  });

  test("opens no second scope inside a first", () => {
    const { device, gpu } = open();
    let inside = 0;
    gpu.watch(() => {
      const outside = device.scopes;
      gpu.watch(() => {
        inside = device.scopes - outside;
      });
    });
    expect([inside, device.scopes]).toEqual([0, 0]);
  });
});

test("the web runtimes that share a device cannot destroy it; the engine can", () => {
  const { device, gpu } = open();
  device.asGpu.destroy();
  expect(device.destroyed).toBe(0);
  gpu.destroy();
  expect(device.destroyed).toBe(1);
});

describe("counters", () => {
  test("count dispatches, submits, synchronisations, bytes read back and written", async () => {
    const { device, gpu } = open();
    const gpuDevice = device.asGpu;
    const before = gpu.counters.snapshot();
    const pass = gpuDevice.createCommandEncoder().beginComputePass();
    pass.dispatchWorkgroups(1);
    pass.dispatchWorkgroups(2, 3);
    gpuDevice.queue.submit([]);
    await gpuDevice.queue.onSubmittedWorkDone();
    const buffer = gpuDevice.createBuffer({ size: 64, usage: 0 });
    await buffer.mapAsync(1);
    buffer.getMappedRange(0, 4);
    gpuDevice.queue.writeBuffer(buffer, 0, new Uint8Array(12), 4, 8);
    gpuDevice.queue.writeBuffer(buffer, 0, new Float32Array(4).buffer);
    gpuDevice.queue.writeBuffer(buffer, 0, new Float32Array(4), 1);
    expect(gpu.counters.since(before)).toEqual({
      syncs: 2,
      readbackBytes: 4,
      dispatches: 2,
      submits: 1,
      uploadBytes: 8 + 16 + 12,
      liveBytes: 64,
      peakBytes: 64,
    });
  });

  test("follow buffers from creation to destruction, once", () => {
    const { device, gpu } = open();
    const first = device.asGpu.createBuffer({ size: 100, usage: 0 });
    first.destroy();
    first.destroy();
    device.asGpu.createBuffer({ size: 30, usage: 0 });
    expect(gpu.counters.snapshot()).toMatchObject({ liveBytes: 30, peakBytes: 100 });
  });
});
