// The WebGPU adapter's name, and how fast a kernel copies a buffer on it, in bytes read and written a second.
async ({ bytes, repeats }) => {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  const { vendor, architecture, device: name, description, isFallbackAdapter } = adapter.info;
  const size = Math.min(bytes, adapter.limits.maxStorageBufferBindingSize);
  const device = await adapter.requestDevice({
    requiredLimits: { maxStorageBufferBindingSize: size, maxBufferSize: Math.max(size, 256 * 2 ** 20) },
  });
  const failed = [];
  device.addEventListener("uncapturederror", (event) => failed.push(event.error.message));
  const GROUPS = 4096;
  const module = device.createShaderModule({
    code: `
@group(0) @binding(0) var<storage, read> source : array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> target_ : array<vec4<u32>>;
@compute @workgroup_size(256) fn copy(@builtin(global_invocation_id) id : vec3<u32>) {
  for (var i = id.x; i < arrayLength(&source); i += ${256 * GROUPS}u) { target_[i] = source[i]; }
}`,
  });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "copy" } });
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [from, to] = [0, 1].map(() => device.createBuffer({ size, usage }));
  device.queue.writeBuffer(from, size - 4, Uint32Array.of(0x12345678));
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [from, to].map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const copies = async (times) => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    for (let i = 0; i < times; i += 1) pass.dispatchWorkgroups(GROUPS);
    pass.end();
    const began = performance.now();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return performance.now() - began;
  };
  await copies(1);
  // What starting and waiting costs is in both times.
  const spent = [];
  for (let i = 0; i < 3; i += 1) spent.push((await copies(repeats + 1)) - (await copies(1)));
  const readable = device.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(to, size - 4, readable, 0, 4);
  device.queue.submit([encoder.finish()]);
  await readable.mapAsync(GPUMapMode.READ);
  if (new Uint32Array(readable.getMappedRange())[0] !== 0x12345678) failed.push("the copy is not what was copied");
  device.destroy();
  if (failed.length > 0) throw new Error(failed[0]);
  const ms = Math.max(Math.min(...spent), 1e-3);
  return {
    adapter: { vendor, architecture, device: name, description, software: isFallbackAdapter },
    float16: adapter.features.has("shader-f16"),
    copied_bytes: size,
    bytes_per_second: (2 * size * repeats * 1000) / ms,
  };
}
