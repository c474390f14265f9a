/**
 * Compiles WGSL with Dawn, Chrome's WebGPU, and no GPU: `node tools/wgsl.mjs < shaders.json`.
 *
 * Reads a JSON object of shaders by name, each with its source (code) and whether it needs more than every device offers
 * (beyondPromised); prints a JSON object of what is wrong by name, empty when all is well. Dawn's null adapter has every
 * feature (shader-f16 and subgroups too) and the limits that every page gets. So each shader passes Dawn's compiler, its
 * uniformity analysis included, and those within the limits become pipelines as well.
 */
import { readFileSync } from "node:fs";
import { create } from "webgpu";

const sources = Object.entries(JSON.parse(readFileSync(0, "utf8")));
const gpu = create(["backend=null"]);
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ["shader-f16", "subgroups"] });
const beyondLimits = /number of storage buffers|use of workgroup storage/;

const problems = {};
for (const [name, { code, beyondPromised }] of sources) {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const errors = messages.filter((each) => each.type === "error").map((each) => each.message);
  const invalid = (await device.popErrorScope())?.message;
  if (errors.length > 0 || invalid) {
    problems[name] = errors.join("; ") || invalid;
    continue;
  }
  device.pushErrorScope("validation");
  device.createComputePipeline({ layout: "auto", compute: { module } });
  const refused = (await device.popErrorScope())?.message;
  if (refused && !(beyondPromised && beyondLimits.test(refused))) problems[name] = refused;
}
process.stdout.write(JSON.stringify(problems));
process.exit(0); // Dawn keeps the event loop alive.
