/**
 * Counts what is asked of the GPU. The methods of one `GPUDevice`, of its queue, and of the buffers and encoders that
 * they create are replaced on the objects themselves, so the counts are exact.
 */
import type { Counters, LiveCounts } from "./types";

/** Nothing was asked of a GPU. */
export const NO_COUNTS: Counters = {
  syncs: 0,
  readbackBytes: 0,
  dispatches: 0,
  submits: 0,
  uploadBytes: 0,
  liveBytes: 0,
  peakBytes: 0,
};

/** Subtracts the earlier counts. `liveBytes` and `peakBytes` are the later ones. */
export function added(later: Counters, earlier: Counters): Counters {
  return {
    syncs: later.syncs - earlier.syncs,
    readbackBytes: later.readbackBytes - earlier.readbackBytes,
    dispatches: later.dispatches - earlier.dispatches,
    submits: later.submits - earlier.submits,
    uploadBytes: later.uploadBytes - earlier.uploadBytes,
    liveBytes: later.liveBytes,
    peakBytes: later.peakBytes,
  };
}

/** Counts since the device was made. */
export class GpuCounters {
  readonly #calls = { bindGroups: 0, writes: 0, passes: 0, positions: 0 };
  #counts = { ...NO_COUNTS } as { -readonly [Name in keyof Counters]: number };

  constructor(device: GPUDevice) {
    this.#watchBuffers(device);
    this.#watchEncoders(device);
    this.#watchQueue(device.queue);
  }

  snapshot(): Counters {
    return { ...this.#counts };
  }

  /** Calls that cost the CPU most, and positions. */
  live(): LiveCounts {
    return { ...this.#calls };
  }

  /** Counts positions that a model computes. */
  addPositions(count: number): void {
    this.#calls.positions += count;
  }

  /** What was added since an earlier snapshot. */
  since(earlier: Counters): Counters {
    return added(this.#counts, earlier);
  }

  #watchBuffers(device: GPUDevice): void {
    const counts = this.#counts;
    const createBuffer = device.createBuffer.bind(device);
    device.createBuffer = (descriptor) => {
      const buffer = createBuffer(descriptor);
      counts.liveBytes += descriptor.size;
      counts.peakBytes = Math.max(counts.peakBytes, counts.liveBytes);
      let alive = true;
      const destroy = buffer.destroy.bind(buffer);
      buffer.destroy = () => {
        if (alive) counts.liveBytes -= descriptor.size;
        alive = false;
        destroy();
      };
      this.#watchReads(buffer);
      return buffer;
    };
  }

  #watchReads(buffer: GPUBuffer): void {
    const counts = this.#counts;
    const mapAsync = buffer.mapAsync.bind(buffer);
    const getMappedRange = buffer.getMappedRange.bind(buffer);
    buffer.mapAsync = (mode, offset, size) => {
      counts.syncs += 1;
      return mapAsync(mode, offset, size);
    };
    buffer.getMappedRange = (offset, size) => {
      const range = getMappedRange(offset, size);
      counts.readbackBytes += range.byteLength;
      return range;
    };
  }

  #watchEncoders(device: GPUDevice): void {
    const [counts, calls] = [this.#counts, this.#calls];
    const createBindGroup = device.createBindGroup.bind(device);
    device.createBindGroup = (descriptor) => {
      calls.bindGroups += 1;
      return createBindGroup(descriptor);
    };
    const createCommandEncoder = device.createCommandEncoder.bind(device);
    device.createCommandEncoder = (descriptor) => {
      const encoder = createCommandEncoder(descriptor);
      const beginComputePass = encoder.beginComputePass.bind(encoder);
      encoder.beginComputePass = (passDescriptor) => {
        calls.passes += 1;
        const pass = beginComputePass(passDescriptor);
        const dispatch = pass.dispatchWorkgroups.bind(pass);
        pass.dispatchWorkgroups = (x, y, z) => {
          counts.dispatches += 1;
          dispatch(x, y, z);
        };
        return pass;
      };
      return encoder;
    };
  }

  #watchQueue(queue: GPUQueue): void {
    const [counts, calls] = [this.#counts, this.#calls];
    const submit = queue.submit.bind(queue);
    const onSubmittedWorkDone = queue.onSubmittedWorkDone.bind(queue);
    const writeBuffer = queue.writeBuffer.bind(queue);
    queue.submit = (commands) => {
      counts.submits += 1;
      submit(commands);
    };
    queue.onSubmittedWorkDone = () => {
      counts.syncs += 1;
      return onSubmittedWorkDone();
    };
    queue.writeBuffer = (buffer, offset, data, dataOffset = 0, size) => {
      calls.writes += 1;
      const itemBytes = "BYTES_PER_ELEMENT" in data ? (data.BYTES_PER_ELEMENT as number) : 1;
      counts.uploadBytes += size === undefined ? data.byteLength - dataOffset * itemBytes : size * itemBytes;
      writeBuffer(buffer, offset, data, dataOffset, size);
    };
  }
}
