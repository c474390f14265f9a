/**
 * Reads `tensor-cache.json` and its shards, and uploads an agent's weights.
 *
 * Source: MLC's format, as `tvm.contrib.tvmjs.dump_tensor_cache` writes it.
 */

import * as v from "valibot";
import { describeIssues } from "../formats/describe";
import { reasonOf } from "../formats/errors";
import type { Artifacts } from "./artifacts";
import { EngineError } from "./errors";
import { bfloatToFloat } from "./half";
import type { ParamSpec } from "./library";
import type { HostTensor } from "./links";
import { DTYPE_BYTES, type Dtype, type Runtime, type Tensor, type TvmObject } from "./runtime";
import type { AgentSpec } from "./system";

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const recordSchema = v.object({
  name: v.string(),
  shape: v.array(count),
  dtype: v.picklist(["float32", "float16", "uint32", "int32"]),
  format: v.picklist(["raw", "f32-to-bf16"]),
  nbytes: count,
  byteOffset: count,
});
const cacheSchema = v.object({
  records: v.array(
    v.object({
      dataPath: v.string(),
      format: v.literal("raw-shard"),
      nbytes: count,
      records: v.array(recordSchema),
    }),
  ),
});
type TensorRecord = v.InferOutput<typeof recordSchema>;
type Shard = v.InferOutput<typeof cacheSchema>["records"][number];

/** The shards of an agent's weights, as the index lists them. */
export async function weightFiles(artifacts: Artifacts, spec: AgentSpec): Promise<readonly string[]> {
  return (await readIndex(artifacts, spec)).map((shard) => spec.path + shard.dataPath);
}

/**
 * Uploads all parameters, with one shard in memory at a time.
 *
 * @param params - names, shapes and dtypes in call order.
 * @param onShard - called with the uploaded part of the weights, above 0 and up to 1.
 * @returns the packed parameters, kept by the runtime.
 * @throws EngineError `bad-manifest` if a parameter is missing, or has another shape or dtype.
 */
export async function loadWeights(
  runtime: Runtime,
  artifacts: Artifacts,
  spec: AgentSpec,
  params: readonly ParamSpec[],
  onShard: (fraction: number) => void,
): Promise<TvmObject> {
  const index = await readIndex(artifacts, spec);
  checkParams(
    spec,
    params,
    new Map(index.flatMap((shard) => shard.records.map((record) => [record.name, record]))),
  );
  const tensors = new Map<string, Tensor>();
  for (const [done, shard] of index.entries()) {
    const path = spec.path + shard.dataPath;
    const bytes = await artifacts.read(path);
    for (const record of shard.records) tensors.set(record.name, uploadRecord(runtime, spec, record, bytes));
    // Uploads wait in the GPU process. Waiting for each shard keeps that queue short.
    await runtime.sync();
    artifacts.release(path);
    onShard((done + 1) / index.length);
  }
  return runtime.scoped(() => {
    const packed = runtime.keep(runtime.pack(params.map((param) => tensors.get(param.name) as Tensor)));
    for (const tensor of tensors.values()) runtime.free(tensor);
    return packed;
  });
}

/**
 * Reads all parameters as float32 on the CPU.
 *
 * @param onShard - called with the part of the weights that is read, above 0 and up to 1.
 * @returns shapes and values by name.
 * @throws EngineError `bad-manifest` if a parameter is packed, or does not lie within its shard.
 */
export async function readWeights(
  artifacts: Artifacts,
  spec: AgentSpec,
  onShard: (fraction: number) => void,
): Promise<ReadonlyMap<string, HostTensor>> {
  const index = await readIndex(artifacts, spec);
  const tensors = new Map<string, HostTensor>();
  for (const [done, shard] of index.entries()) {
    const path = spec.path + shard.dataPath;
    const bytes = await artifacts.read(path);
    for (const record of shard.records) {
      const { name, shape, dtype } = record;
      if (dtype !== "float32") throw bad(spec, `weight '${name}' is ${dtype}, expected float32`);
      // A copy, which begins where a float may begin.
      const data = new Float32Array(recordBytes(spec, record, bytes).slice().buffer);
      tensors.set(name, { shape, data });
    }
    artifacts.release(path);
    onShard((done + 1) / index.length);
  }
  return tensors;
}

function bad(spec: AgentSpec, problem: string): EngineError {
  return new EngineError(
    "bad-manifest",
    `agent '${spec.id}': ${problem}; rebuild the system with 'rmas build'`,
  );
}

async function readIndex(artifacts: Artifacts, spec: AgentSpec): Promise<readonly Shard[]> {
  const text = await artifacts.readText(`${spec.path}tensor-cache.json`);
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw bad(spec, `tensor-cache.json is not valid JSON (${reasonOf(error)})`);
  }
  const parsed = v.safeParse(cacheSchema, data);
  if (!parsed.success) throw bad(spec, `tensor-cache.json is broken (${describeIssues(parsed.issues)})`);
  return parsed.output.records;
}

function checkParams(
  spec: AgentSpec,
  params: readonly ParamSpec[],
  records: ReadonlyMap<string, TensorRecord>,
): void {
  for (const param of params) {
    const record = records.get(param.name);
    if (!record) throw bad(spec, `its weights lack '${param.name}'`);
    const expected = `${param.dtype} [${param.shape.join(", ")}]`;
    const came = `${record.dtype} [${record.shape.join(", ")}]`;
    if (came !== expected)
      throw bad(spec, `weight '${param.name}' is ${came}, its model library takes ${expected}`);
  }
}

function uploadRecord(
  runtime: Runtime,
  spec: AgentSpec,
  record: TensorRecord,
  shard: Uint8Array<ArrayBuffer>,
): Tensor {
  const bytes = recordBytes(spec, record, shard);
  return runtime.scoped(() => runtime.keep(runtime.upload(record.shape, record.dtype, bytes)));
}

/** The values of a parameter, unpacked. */
function recordBytes(
  spec: AgentSpec,
  record: TensorRecord,
  shard: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const packed = record.format === "f32-to-bf16" && record.dtype === "float32";
  const elements = record.shape.reduce((a, b) => a * b, 1);
  const expected = elements * (packed ? 2 : DTYPE_BYTES[record.dtype as Dtype]);
  if (record.nbytes !== expected || record.byteOffset + record.nbytes > shard.byteLength) {
    throw bad(spec, `weight '${record.name}' does not lie within its shard as tensor-cache.json says`);
  }
  const end = record.byteOffset + record.nbytes;
  return packed
    ? new Uint8Array(bfloatToFloat(new Uint16Array(shard.slice(record.byteOffset, end).buffer)).buffer)
    : shard.subarray(record.byteOffset, end);
}
