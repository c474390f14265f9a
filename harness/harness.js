// Calls functions of compiled model libraries with arrays from a Python test, and returns arrays.
// It collects every complaint of WebGPU and of the libraries; the test asks for them and fails if there are any.
"use strict";

const complaints = [];
const libraries = new Map();
const kept = new Map();
let nextRef = 0;
let gpu;

const toBytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

const toText = (bytes) => {
  let letters = "";
  for (let i = 0; i < bytes.length; i += 0x8000) {
    letters += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(letters);
};

async function openDevice() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error("no WebGPU adapter");
  const wanted = ["maxComputeWorkgroupStorageSize", "maxStorageBuffersPerShaderStage", "maxStorageBufferBindingSize", "maxBufferSize"];
  const device = await adapter.requestDevice({
    requiredFeatures: ["shader-f16", "subgroups"].filter((feature) => adapter.features.has(feature)),
    requiredLimits: Object.fromEntries(wanted.map((name) => [name, adapter.limits[name]])),
  });
  device.addEventListener("uncapturederror", (event) => complaints.push(`WebGPU: ${event.error.message}`));
  device.lost.then((info) => complaints.push(`device lost: ${info.message}`));
  gpu = device;
  const { vendor, architecture, device: name, description, subgroupMinSize: subgroup_size = 0 } = adapter.info;
  return { vendor, architecture, name, description, subgroup_size, features: [...device.features], limits: Object.fromEntries(wanted.map((each) => [each, device.limits[each]])) };
}

// Fetches a library, compiles all of its shaders and returns its metadata.
async function load(id, url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  const instance = await tvmjs.instantiate(await response.arrayBuffer(), tvmjs.createPolyfillWASI(), (line) => complaints.push(`${id}: ${line}`));
  instance.initWebGPU(gpu);
  instance.beginScope();
  const vm = instance.createVirtualMachine(instance.webgpu());
  await instance.asyncLoadWebGPUPipelines(vm.getInternalModule());
  libraries.set(id, { instance, vm });
  return vm.getFunction("_metadata")();
}

// Loads the weight shards beside `url` and keeps the parameters, in the order of the library's metadata.
async function params(id, url, names) {
  const { instance } = libraries.get(id);
  await instance.fetchTensorCache(url, instance.webgpu(), "weights");
  return keep(id, instance.getParamsFromCacheByName(names));
}

// Frees a library and everything that it keeps.
function unload(id) {
  const { instance } = libraries.get(id);
  for (const [ref, owned] of kept) {
    if (owned.id === id) kept.delete(ref);
  }
  // instance.dispose() would destroy the device, which all libraries share.
  instance.endScope();
  libraries.delete(id);
}

function keep(id, value) {
  nextRef += 1;
  kept.set(nextRef, { id, value });
  return { ref: nextRef };
}

function argument(instance, spec) {
  if (spec.ref !== undefined) return kept.get(spec.ref).value;
  if (spec.shape_tuple !== undefined) return instance.makeShapeTuple(spec.shape_tuple);
  if (spec.items !== undefined) return instance.makeTVMArray(spec.items.map((item) => argument(instance, item)));
  if (spec.data !== undefined) {
    // The bytes go through the CPU's memory, because only multiples of four can be uploaded directly.
    const host = instance.empty(spec.shape, spec.dtype, instance.cpu()).copyFromRawBytes(toBytes(spec.data));
    return instance.empty(spec.shape, spec.dtype, instance.webgpu()).copyFrom(host);
  }
  return instance.scalar(spec.scalar, spec.dtype);
}

async function result(id, value) {
  const { instance } = libraries.get(id);
  if (value === undefined || value === null) return null;
  if (value instanceof tvmjs.TVMArray) {
    const items = [];
    for (let i = 0; i < value.size(); i += 1) items.push(await result(id, value.get(i)));
    return items;
  }
  if (!(value instanceof tvmjs.Tensor)) return keep(id, value);
  const host = instance.empty(value.shape, value.dtype, instance.cpu()).copyFrom(value);
  await instance.webgpu().sync();
  return { ...keep(id, value), shape: value.shape, dtype: value.dtype, data: toText(host.toRawBytes()) };
}

// `fn` is a function of the library, or "global:<name>" of the runtime.
async function call(id, fn, args) {
  const { instance, vm } = libraries.get(id);
  const callee = fn.startsWith("global:") ? instance.getGlobalFunc(fn.slice(7)) : vm.getFunction(fn);
  return result(id, callee(...args.map((spec) => argument(instance, spec))));
}

// Keeps what a function returns without reading it, such as a tuple of tensors on the GPU.
function hold(id, fn, args) {
  const { instance, vm } = libraries.get(id);
  return keep(id, vm.getFunction(fn)(...args.map((spec) => argument(instance, spec))));
}

// Uploads arguments once, so that calls can refer to them.
function upload(id, spec) {
  return keep(id, argument(libraries.get(id).instance, spec));
}

// Reads back what a kept tensor holds now.
function read(id, ref) {
  return result(id, kept.get(ref).value);
}

window.harness = { openDevice, load, params, unload, call, hold, upload, read, complaints: () => complaints.splice(0) };
