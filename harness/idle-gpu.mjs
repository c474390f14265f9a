/**
 * A WebGPU adapter that does nothing: every call succeeds at once, and all memory reads as zeros. On it, the engine makes
 * the calls that it would make on any GPU, and their counts cost no time.
 */
const nothing = () => {};
const handle = () => ({});

function buffer({ size, usage }) {
  return {
    size,
    usage,
    destroy: nothing,
    mapAsync: async () => {},
    getMappedRange: (offset = 0, length = size - offset) => new ArrayBuffer(length),
    unmap: nothing,
  };
}

function encoder() {
  const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
  return { beginComputePass: () => ({ ...pass }), copyBufferToBuffer: nothing, finish: handle };
}

function device() {
  const pipeline = () => ({ getBindGroupLayout: handle });
  return Object.assign(new EventTarget(), {
    features: new Set(["shader-f16"]),
    limits: LIMITS,
    lost: new Promise(nothing),
    queue: { submit: nothing, writeBuffer: nothing, onSubmittedWorkDone: async () => {} },
    createBuffer: buffer,
    createBindGroup: handle,
    createBindGroupLayout: handle,
    createPipelineLayout: handle,
    createShaderModule: handle,
    createComputePipeline: pipeline,
    createComputePipelineAsync: async () => pipeline(),
    createCommandEncoder: encoder,
    pushErrorScope: nothing,
    popErrorScope: async () => null,
    destroy: nothing,
  });
}

/** What GPUs of desktops offer. The kernels of TVM that MLC-LLM's graphs get need more than WebGPU promises. */
const LIMITS = {
  maxBufferSize: 256 * 2 ** 20,
  maxStorageBufferBindingSize: 128 * 2 ** 20,
  maxStorageBuffersPerShaderStage: 10,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeInvocationsPerWorkgroup: 256,
};

/** What stands in for `navigator.gpu`. */
export const idleGpu = {
  requestAdapter: async () => ({
    features: new Set(["shader-f16"]),
    limits: LIMITS,
    info: { vendor: "none", architecture: "none", description: "a GPU that does nothing", isFallbackAdapter: false },
    requestDevice: async () => device(),
  }),
};
