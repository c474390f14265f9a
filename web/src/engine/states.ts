/** Hidden states and embeddings on the GPU: rows that one agent computes and another one reads. */
import { EngineError } from "./errors";
import { bytesToFloat, type StateDtype } from "./half";
import type { Rows } from "./performer";
import { DTYPE_BYTES, type Runtime, type Tensor } from "./runtime";
import type { Matrix } from "./types";

/** A (rows, columns) matrix in GPU memory. Its owner frees it. */
export class States implements Rows {
  #freed = false;

  constructor(
    private readonly runtime: Runtime,
    /** (rows, columns), kept by `runtime`. */
    readonly tensor: Tensor,
    readonly rows: number,
    readonly columns: number,
    readonly dtype: StateDtype,
  ) {}

  /** Bytes per row. */
  get rowBytes(): number {
    return this.columns * DTYPE_BYTES[this.dtype];
  }

  /** Submits everything that writes to the matrix. @returns the buffer, to copy from. */
  submitted(): GPUBuffer {
    this.runtime.flush();
    return this.runtime.buffer(this.tensor);
  }

  /** Reads the matrix back as float32: one synchronisation. */
  async read(): Promise<Matrix> {
    const bytes = await this.runtime.read(this.tensor);
    return { rows: this.rows, columns: this.columns, data: bytesToFloat(bytes, this.dtype) };
  }

  free(): void {
    if (!this.#freed) this.runtime.free(this.tensor);
    this.#freed = true;
  }
}

/** Copies rows `from…from+count` of `source` to row `to` of a destination. */
interface RowCopy {
  readonly source: States;
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/**
 * Plans how consecutive pieces fill chunks of at most `chunkRows` rows.
 *
 * @returns for each chunk, in order, its copies and its number of rows.
 */
export function planChunks(
  pieces: readonly States[],
  chunkRows: number,
): { rows: number; copies: RowCopy[] }[] {
  const chunks: { rows: number; copies: RowCopy[] }[] = [];
  for (const source of pieces) {
    let from = 0;
    while (from < source.rows) {
      let chunk = chunks.at(-1);
      if (!chunk || chunk.rows === chunkRows) {
        chunk = { rows: 0, copies: [] };
        chunks.push(chunk);
      }
      const count = Math.min(source.rows - from, chunkRows - chunk.rows);
      chunk.copies.push({ source, from, to: chunk.rows, count });
      chunk.rows += count;
      from += count;
    }
  }
  return chunks;
}

/**
 * Copies rows of any agent on the GPU, in one submit. Nothing is read back and nothing waits.
 *
 * @param target - the receiver's buffer. The receiver's pending commands must have been submitted.
 * @throws EngineError `internal` if a row has another size than the target's, or not a multiple of four bytes.
 */
export function copyRows(
  device: GPUDevice,
  copies: readonly RowCopy[],
  target: GPUBuffer,
  rowBytes: number,
): void {
  const buffers = copies.map((copy) => copy.source.submitted());
  const encoder = device.createCommandEncoder();
  copies.forEach((copy, index) => {
    if (copy.source.rowBytes !== rowBytes || rowBytes % 4 !== 0) {
      throw new EngineError(
        "internal",
        `rows of ${copy.source.rowBytes} bytes cannot be copied into rows of ${rowBytes}`,
      );
    }
    const buffer = buffers[index] as GPUBuffer;
    encoder.copyBufferToBuffer(
      buffer,
      copy.from * rowBytes,
      target,
      copy.to * rowBytes,
      copy.count * rowBytes,
    );
  });
  device.queue.submit([encoder.finish()]);
}
