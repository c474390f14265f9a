/** Runs the shader that looks for NaN and infinity on rows of numbers. It needs no GPU with float16. */
import { FiniteCheck } from "../../src/engine/finite";
import { floatToHalf } from "../../src/engine/half";

/** More numbers than one workgroup looks at. */
const COUNT = 40_000;

/** The numbers of a row; `spoilt` are others in some of its places. */
export interface Row {
  readonly spoilt?: readonly { readonly at: number; readonly value: string }[];
}

function upload(device: GPUDevice, data: ArrayBufferView<ArrayBuffer>): GPUBuffer {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  // The runtime's buffers may be longer than their tensors. Here NaN lies behind, which must not be looked at.
  const buffer = device.createBuffer({ size: data.byteLength + 64, usage });
  device.queue.writeBuffer(buffer, data.byteLength, new Uint8Array(64).fill(0xff));
  device.queue.writeBuffer(buffer, 0, data);
  return buffer;
}

async function readToken(device: GPUDevice, token: GPUBuffer): Promise<number> {
  const host = device.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(token, 0, host, 0, 4);
  device.queue.submit([encoder.finish()]);
  await host.mapAsync(GPUMapMode.READ);
  return new Int32Array(host.getMappedRange())[0] as number;
}

/**
 * Looks at each run's rows and picks token 7 after the last one.
 *
 * @returns for each run the row that was found, or the token if none was.
 */
export async function lookAt(
  dtype: "float32" | "float16",
  runs: readonly (readonly Row[])[],
): Promise<(number | string)[]> {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter?.requestDevice();
  if (!device) throw new Error("no WebGPU");
  const check = new FiniteCheck(device);
  const found: (number | string)[] = [];
  for (const rows of runs) {
    check.restart();
    const token = upload(device, Int32Array.of(7));
    rows.forEach(({ spoilt = [] }, index) => {
      const values = Float32Array.from({ length: COUNT }, (_, at) => (at % 2 ? -at : at));
      for (const { at, value } of spoilt) values[at] = Number(value);
      const data = dtype === "float32" ? values : floatToHalf(values);
      const looked = { buffer: upload(device, data), bytes: data.byteLength, dtype };
      check.look(looked, `row ${index}`, index === rows.length - 1 ? token : undefined);
    });
    const id = await readToken(device, token);
    found.push(check.found(id) ?? id);
  }
  check.dispose();
  device.destroy();
  return found;
}
