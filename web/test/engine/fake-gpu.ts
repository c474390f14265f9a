/** The part of WebGPU that the engine's own code calls, on the CPU. */

class GPUValidationError {
  constructor(readonly message: string) {}
}
class GPUOutOfMemoryError {
  constructor(readonly message: string) {}
}
Object.assign(globalThis, { GPUValidationError, GPUOutOfMemoryError });

/** Makes a GPUError as a browser would. */
export function gpuError(kind: "validation" | "out-of-memory", message: string): GPUError {
  return kind === "validation" ? new GPUValidationError(message) : new GPUOutOfMemoryError(message);
}

interface FakePipeline {
  readonly compute: { readonly module: { readonly code: string }; readonly entryPoint: string };
}

/** A shader that a device was asked to compile. */
export interface Compiling {
  readonly code: string;
  readonly entryPoint: string;
  readonly finish: () => void;
  readonly refuse: (reason: unknown) => void;
}

/** A device whose errors the test decides. */
export class FakeDevice extends EventTarget {
  readonly features = new Set<string>();
  destroyed = 0;
  /** The errors that the next popped scopes report. */
  readonly scopeErrors: (GPUError | null)[] = [];
  scopes = 0;
  /** Shaders that are compiled without the page waiting for them, in order. */
  readonly compiling: Compiling[] = [];
  /** The code of those that it waited for. */
  readonly compiledAtOnce: string[] = [];
  #lose: (info: { reason: string; message: string }) => void = () => {};
  lost = new Promise<{ reason: string; message: string }>((resolve) => {
    this.#lose = resolve;
  });
  readonly queue = {
    submit: (): void => {},
    onSubmittedWorkDone: async (): Promise<void> => {},
    writeBuffer: (): void => {},
  };

  createBuffer = ({ size }: { size: number }) => ({
    size,
    destroy: (): void => {},
    mapAsync: async (): Promise<void> => {},
    getMappedRange: (offset = 0, length = size - offset): ArrayBuffer => new ArrayBuffer(length),
  });

  createBindGroupLayout = () => ({});
  createBindGroup = () => ({});
  createPipelineLayout = () => ({});
  createShaderModule = ({ code }: { code: string }) => ({ code });

  /** Compiles at once, and the page stands still meanwhile. */
  createComputePipeline = ({ compute }: FakePipeline) => {
    this.compiledAtOnce.push(compute.module.code);
    return {};
  };

  /** The test says when it is done. */
  createComputePipelineAsync = ({ compute }: FakePipeline) =>
    new Promise((resolve, reject) => {
      const { code } = compute.module;
      this.compiling.push({
        code,
        entryPoint: compute.entryPoint,
        finish: () => resolve({}),
        refuse: reject,
      });
    });

  createCommandEncoder = () => ({
    beginComputePass: () => ({ dispatchWorkgroups: (): void => {}, end: (): void => {} }),
    copyBufferToBuffer: (): void => {},
    finish: () => ({}),
  });

  pushErrorScope = (): void => {
    this.scopes += 1;
  };

  popErrorScope = async (): Promise<GPUError | null> => {
    this.scopes -= 1;
    return this.scopeErrors.shift() ?? null;
  };

  destroy = (): void => {
    this.destroyed += 1;
    this.#lose({ reason: "destroyed", message: "" });
  };

  lose(message: string): void {
    this.#lose({ reason: "unknown", message });
  }

  uncaptured(error: GPUError): void {
    this.dispatchEvent(Object.assign(new Event("uncapturederror", { cancelable: true }), { error }));
  }

  get asGpu(): GPUDevice {
    return this as unknown as GPUDevice;
  }
}

/** An adapter whose features and limits the test decides. */
export function fakeGpu(offer: {
  features?: readonly string[];
  limits?: Readonly<Record<string, number>>;
  subgroupMinSize?: number;
  none?: boolean;
}): { gpu: GPU; requests: GPUDeviceDescriptor[]; device: FakeDevice } {
  const requests: GPUDeviceDescriptor[] = [];
  const device = new FakeDevice();
  const adapter = {
    features: new Set(offer.features),
    limits: {
      maxBufferSize: 1000,
      maxStorageBufferBindingSize: 900,
      maxStorageBuffersPerShaderStage: 10,
      maxComputeWorkgroupStorageSize: 32768,
      ...offer.limits,
    },
    info: {
      vendor: "fake",
      architecture: "",
      description: "",
      isFallbackAdapter: true,
      subgroupMinSize: offer.subgroupMinSize,
    },
    requestDevice: async (descriptor: GPUDeviceDescriptor) => {
      requests.push(descriptor);
      return device.asGpu;
    },
  };
  const gpu = { requestAdapter: async () => (offer.none ? null : adapter) } as unknown as GPU;
  return { gpu, requests, device };
}
