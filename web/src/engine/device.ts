/**
 * The GPU device of a loaded system: checks what it offers, and reports what goes wrong on it.
 *
 * WebGPU does not throw errors. It reports them as events, and the results are zeros. So every call runs under `watch`,
 * and nothing that is read back counts before `verdict`.
 */
import { reasonOf } from "../formats/errors";
import { GpuCounters } from "./counters";
import { EngineError } from "./errors";
import { FewCalls } from "./few-calls";
import { GPU_MS, within } from "./patience";
import type { System } from "./system";
import type { DeviceInfo, LoadOptions } from "./types";

/** Limits that are raised to whatever the adapter offers, because they cost nothing. */
const GENEROUS_LIMITS = ["maxBufferSize", "maxStorageBufferBindingSize"] as const;

/** How long a device may take to report that it is lost, after calls begin to fail. */
const LOSS_PATIENCE_MS = 500;

/** A device, its counters, and the first thing that went wrong on it. */
export class Gpu {
  /** Counts what reaches the device. */
  readonly counters: GpuCounters;
  readonly #fewCalls: FewCalls | undefined;
  /** Resolves with the error if the device is lost while in use. */
  readonly lost: Promise<EngineError>;
  #error: EngineError | undefined;
  #destroy: () => void;
  #watching = false;
  #verdicts: Promise<GPUError | null>[] = [];
  #ended = false;

  /** @param fewCalls - whether to merge the web runtime's calls; see few-calls.ts. */
  constructor(
    readonly device: GPUDevice,
    readonly info: DeviceInfo,
    fewCalls = true,
  ) {
    this.counters = new GpuCounters(device);
    this.#fewCalls = fewCalls ? new FewCalls(device) : undefined;
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#record(event.error);
    });
    const popErrorScope = device.popErrorScope.bind(device);
    device.popErrorScope = async () => {
      const error = await popErrorScope();
      if (error) this.#record(error);
      return error;
    };
    this.#destroy = device.destroy.bind(device);
    const { lost } = device;
    // The runtimes of several agents share the device. Each of them would destroy the device when it is disposed or
    // fails, and dispose itself in the middle of a call when the device is lost. The engine does both instead.
    device.destroy = () => {};
    Object.defineProperty(device, "lost", { value: new Promise(() => {}) });
    this.lost = new Promise((resolve) => {
      void lost.then((info) => {
        if (this.#ended) return;
        this.#error ??= new EngineError(
          "device-lost",
          `the GPU device was lost: ${(info.message || info.reason).replace(/\.$/, "")}; load the system again`,
        );
        resolve(this.#error);
      });
    });
  }

  /**
   * Runs work that calls the GPU inside error scopes; `verdict` later says whether the device accepted it. Errors after
   * the synchronous part of `work` arrive as the device's `uncapturederror` events, and `verdict` reports them too.
   */
  watch<T>(work: () => T): T {
    if (this.#watching) return work();
    this.check();
    this.device.pushErrorScope("out-of-memory");
    this.device.pushErrorScope("validation");
    this.#watching = true;
    try {
      return work();
    } finally {
      this.#watching = false;
      this.#verdicts.push(this.device.popErrorScope(), this.device.popErrorScope());
    }
  }

  /**
   * Waits for the device's verdict on everything watched so far. It does not wait for the GPU's work.
   *
   * @throws EngineError `gpu-validation`, `out-of-memory` or `device-lost`.
   */
  async verdict(): Promise<void> {
    try {
      await Promise.all(this.#verdicts.splice(0));
    } catch (error) {
      this.#error ??= EngineError.from(error, "device-lost");
    }
    this.check();
  }

  /**
   * Gives the reason for a failure: the error that the device reported, if there is one. It waits a moment, because
   * calls on a lost device fail in many ways before the device reports its loss.
   */
  async explain(thrown: unknown): Promise<EngineError> {
    const error = EngineError.from(thrown);
    if (error.code !== "internal") return error;
    const patience = new Promise((resolve) => setTimeout(resolve, LOSS_PATIENCE_MS));
    await Promise.race([this.lost, patience]);
    return await this.verdict().then(
      () => error,
      (reported: unknown) => EngineError.from(reported),
    );
  }

  /** Throws the first error that the device has reported. */
  check(): void {
    if (this.#error) throw this.#error;
  }

  /** Destroys the device, which frees its memory. */
  destroy(): void {
    this.#ended = true;
    this.#fewCalls?.dispose();
    this.#destroy();
  }

  #record(error: GPUError): void {
    const outOfMemory = error instanceof GPUOutOfMemoryError;
    this.#error ??= outOfMemory
      ? new EngineError("out-of-memory", `the GPU is out of memory: ${error.message}`)
      : new EngineError(
          "gpu-validation",
          `WebGPU refused a command, so the results are worthless: ${error.message}`,
        );
  }
}

const silent = (): EngineError =>
  new EngineError(
    "no-webgpu",
    `the browser gave no graphics card within ${GPU_MS / 1000} seconds; restart the browser and try again`,
  );

/** Asks for an adapter. @throws EngineError `no-webgpu` if the browser does not answer. */
export function requestAdapter(gpu: GPU, powerPreference: GPUPowerPreference): Promise<GPUAdapter | null> {
  return within(GPU_MS, gpu.requestAdapter({ powerPreference }), silent);
}

/**
 * Opens a device that can run the system.
 *
 * @param gpu - `navigator.gpu`; undefined where the browser has none.
 * @throws EngineError `no-webgpu`, `missing-feature` or `insufficient-limits`.
 */
export async function openDevice(
  gpu: GPU | undefined,
  system: Pick<System, "requiredFeatures" | "requiredLimits" | "agents">,
  {
    powerPreference = "high-performance",
    fewCalls = true,
  }: Pick<LoadOptions, "powerPreference" | "fewCalls"> = {},
): Promise<Gpu> {
  if (!gpu) {
    throw new EngineError(
      "no-webgpu",
      "this browser has no WebGPU; use a current Chrome, Edge, Safari or Firefox, on https or localhost",
    );
  }
  const adapter = await requestAdapter(gpu, powerPreference);
  if (!adapter) {
    throw new EngineError(
      "no-webgpu",
      "WebGPU found no graphics adapter; check that hardware acceleration is on",
    );
  }
  const requiredFeatures = checkFeatures(adapter, system);
  const requiredLimits = checkLimits(adapter, system.requiredLimits);
  let device: GPUDevice;
  try {
    device = await within(GPU_MS, adapter.requestDevice({ requiredFeatures, requiredLimits }), silent);
  } catch (error) {
    if (error instanceof EngineError) throw error;
    throw new EngineError("no-webgpu", `the graphics adapter gave no device: ${reasonOf(error)}`, error);
  }
  const { vendor, architecture, description, isFallbackAdapter } = adapter.info;
  const given: DeviceInfo = {
    runtime: "webgpu",
    vendor,
    architecture,
    description,
    fallback: isFallbackAdapter,
    features: [...device.features],
  };
  return new Gpu(device, given, fewCalls);
}

function checkFeatures(
  adapter: GPUAdapter,
  system: Pick<System, "requiredFeatures" | "agents">,
): GPUFeatureName[] {
  const halfPrecision = system.agents.some((agent) => agent.dtype === "float16") ? ["shader-f16"] : [];
  const needed = [...new Set([...system.requiredFeatures, ...halfPrecision])] as GPUFeatureName[];
  const missing = needed.filter((feature) => !adapter.features.has(feature));
  if (missing.length > 0) {
    throw new EngineError(
      "missing-feature",
      `this GPU lacks ${missing.join(", ")}, which the system needs; choose a system built with q4f32_1, or another GPU`,
    );
  }
  return needed;
}

function checkLimits(
  adapter: GPUAdapter,
  required: Readonly<Record<string, number>>,
): Record<string, number> {
  const offered = adapter.limits as unknown as Readonly<Record<string, number | undefined>>;
  const limits: Record<string, number> = {};
  for (const name of GENEROUS_LIMITS) limits[name] = adapter.limits[name];
  for (const [name, value] of Object.entries(required)) {
    const most = offered[name];
    if (typeof most !== "number")
      throw new EngineError("bad-manifest", `system.json requires an unknown WebGPU limit '${name}'`);
    if (most < value) {
      throw new EngineError(
        "insufficient-limits",
        `the system needs ${name} ${value}, this GPU offers ${most}; use another GPU or a smaller system`,
      );
    }
    limits[name] = Math.max(limits[name] ?? 0, value);
  }
  return limits;
}
