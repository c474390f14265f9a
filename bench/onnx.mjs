// Lets an agent that was exported to ONNX think, on onnxruntime-web's WebAssembly: node onnx.mjs JOB NODE_MODULES
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [jobFile, modules] = process.argv.slice(2);
const folder = resolve(join(modules, "onnxruntime-web/dist"));
// The page's build, not the one for Node.
const ort = await import(pathToFileURL(join(folder, "ort.wasm.min.mjs")).href);
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = await readFile(join(folder, "ort-wasm-simd-threaded.wasm"));
ort.env.wasm.wasmPaths = pathToFileURL(folder).href + "/";

const { prompt, size, steps, cache, files } = JSON.parse(await readFile(jobFile, "utf8"));
const started = performance.now();
const open = async (file) => ort.InferenceSession.create(await readFile(file), { executionProviders: ["wasm"] });
const step = await open(files.step);
const inner = await open(files.inner);
const outer = await open(files.outer);
const msToStart = performance.now() - started;

const float = (data, ...dims) => new ort.Tensor("float32", data, dims);
const map = async (link, rows) => (await link.run({ states: float(rows, rows.length / size, size) })).mapped.data;

/** Reads new positions. @returns the last hidden state. */
async function feed(context, embeds) {
  const count = embeds.length / size;
  const { length } = context;
  const mask = new Float32Array(count * (length + count));
  for (let row = 0; row < count; row++)
    for (let column = length + row + 1; column < length + count; column++)
      mask[row * (length + count) + column] = -3.4e38;
  const positions = BigInt64Array.from({ length: count }, (_, index) => BigInt(length + index));
  const outputs = await step.run({
    inputs_embeds: float(embeds, 1, count, size),
    position_ids: new ort.Tensor("int64", positions, [1, count]),
    mask: float(mask, 1, 1, count, length + count),
    ...Object.fromEntries(Object.entries(context.cache).map(([name, tensor]) => [`past.${name}`, tensor])),
  });
  for (const name of Object.keys(context.cache)) context.cache[name] = outputs[`present.${name}`];
  context.length += count;
  return outputs.hidden_states.data.slice((count - 1) * size);
}

async function rollOut() {
  const names = Array.from({ length: cache.layers }, (_, layer) => [`key.${layer}`, `value.${layer}`]).flat();
  const empty = () => float(new Float32Array(0), 1, cache.heads, 0, cache.size);
  const context = { length: 0, cache: Object.fromEntries(names.map((name) => [name, empty()])) };
  const thoughts = [await feed(context, Float32Array.from(prompt))];
  const before = performance.now();
  while (thoughts.length < steps) thoughts.push(await feed(context, await map(inner, thoughts.at(-1))));
  return { thoughts, ms: (performance.now() - before) / (steps - 1) };
}

await rollOut();
const { thoughts, ms } = await rollOut();
const rows = Float32Array.from(thoughts.flatMap((each) => [...each]));
const handOff = await map(outer, await map(inner, rows));
console.log(
  JSON.stringify({ thoughts: [...rows], hand_off: [...handOff], ms_to_start: msToStart, ms_a_step: ms }),
);
