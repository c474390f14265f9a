/** Products of matrices on the processor. Sums are in double precision and rounded once. */

/** W·x + b of one row, W (out, in) row-major; without b where there is none. */
export function linear(
  weight: Float32Array,
  bias: Float32Array | undefined,
  x: Float32Array,
): Float32Array<ArrayBuffer> {
  const columns = x.length;
  const out = new Float32Array(weight.length / columns);
  for (let row = 0; row < out.length; row++)
    out[row] = dot(weight, row * columns, x, 0, columns) + (bias?.[row] ?? 0);
  return out;
}

/** The product of `count` numbers of each of two arrays. */
export function dot(a: Float32Array, fromA: number, b: Float32Array, fromB: number, count: number): number {
  // Two sums, because each addition waits for the one before it.
  let even = 0;
  let odd = 0;
  let i = 0;
  for (; i + 1 < count; i += 2) {
    even += (a[fromA + i] as number) * (b[fromB + i] as number);
    odd += (a[fromA + i + 1] as number) * (b[fromB + i + 1] as number);
  }
  return i < count ? even + odd + (a[fromA + i] as number) * (b[fromB + i] as number) : even + odd;
}
