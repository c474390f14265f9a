/** The geometry of latent vectors. */
import type { Matrix } from "../../engine/api";

/** Row `index` of a matrix, without a copy. */
export function row(matrix: Matrix, index: number): Float32Array {
  return matrix.data.subarray(index * matrix.columns, (index + 1) * matrix.columns);
}

/** The Euclidean length. */
export function norm(vector: Float32Array): number {
  let sum = 0;
  for (const value of vector) sum += value * value;
  return Math.sqrt(sum);
}

/**
 * The cosine of the angle between two vectors of one space; 0 if either is zero.
 *
 * @throws RangeError if their lengths differ, because vectors of different agents cannot be compared.
 */
export function cosine(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length)
    throw new RangeError(`expected two vectors of one length, got ${a.length} and ${b.length} numbers`);
  let dot = 0;
  for (let i = 0; i < a.length; i++) dot += (a[i] ?? 0) * (b[i] ?? 0);
  const lengths = norm(a) * norm(b);
  return lengths === 0 ? 0 : Math.max(-1, Math.min(1, dot / lengths));
}

/** All pairwise similarities, row-major, `vectors.length` squared. */
export function pairwise<T>(vectors: readonly T[], similarity: (a: T, b: T) => number): number[] {
  const size = vectors.length;
  const out = new Array<number>(size * size).fill(1);
  vectors.forEach((a, i) => {
    vectors.slice(i + 1).forEach((b, offset) => {
      const j = i + 1 + offset;
      const value = similarity(a, b);
      out[i * size + j] = value;
      out[j * size + i] = value;
    });
  });
  return out;
}
