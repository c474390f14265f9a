/**
 * Links on the processor, one row at a time.
 *
 * Source: arXiv 2604.25917 and docs/abi.md; `links.py` of the training has the same formulas.
 */
import type { HostTensor, Link, Variant } from "../links";
import { linear } from "./matrix";

const LAYER_NORM_EPS = 1e-5;
/** Added to a length that divides, as MIN_LENGTH of the training. */
const MIN_LENGTH = 1e-6;

/**
 * R_in(h), one row of D. `paper`: h + W2·GELU(W1·h); `ln_res`: LN_post(h + W2·GELU(W1·LN_pre(h))); `normed`, with
 * n = h / |h|: scale·(n + W2·GELU(W1·n)).
 */
export function applyInner(link: Link, variant: Variant, hidden: Float32Array): Float32Array<ArrayBuffer> {
  const { tensors } = link;
  if (variant === "ln_res") {
    const inner = bottleneck(tensors.slice(2), variant, layerNorm(at(tensors, 0), at(tensors, 1), hidden));
    return layerNorm(at(tensors, 6), at(tensors, 7), add(hidden, inner));
  }
  const read = variant === "normed" ? unitLength(hidden) : hidden;
  const sum = add(read, bottleneck(tensors, variant, read));
  if (variant === "normed")
    for (const [i, scale] of at(tensors, 4).data.entries()) sum[i] = (sum[i] ?? 0) * scale;
  return sum;
}

/**
 * R_out(h), one row of S to one of D_target. `paper`: W3·h + W2·GELU(W1·h), `normed` the same of h / |h|; `ln_res`:
 * LN_target(W3·h + W2·GELU(W1·LN_source(h))).
 */
export function applyOuter(link: Link, variant: Variant, hidden: Float32Array): Float32Array<ArrayBuffer> {
  const { tensors } = link;
  if (variant === "ln_res") {
    const bent = bottleneck(tensors.slice(2), variant, layerNorm(at(tensors, 0), at(tensors, 1), hidden));
    const straight = linear(at(tensors, 6).data, at(tensors, 7).data, hidden);
    return layerNorm(at(tensors, 8), at(tensors, 9), add(straight, bent));
  }
  const read = variant === "normed" ? unitLength(hidden) : hidden;
  return add(linear(at(tensors, 4).data, at(tensors, 5).data, read), bottleneck(tensors, variant, read));
}

const at = (tensors: readonly HostTensor[], index: number): HostTensor => tensors[index] as HostTensor;

/** W2·GELU(W1·x + b1) + b2; the tensors are w1, b1, w2 and b2. */
function bottleneck(
  tensors: readonly HostTensor[],
  variant: Variant,
  x: Float32Array,
): Float32Array<ArrayBuffer> {
  const gelu = variant === "normed" ? geluTanh : geluErf;
  const hidden = linear(at(tensors, 0).data, at(tensors, 1).data, x).map(gelu);
  return linear(at(tensors, 2).data, at(tensors, 3).data, hidden);
}

function add(a: Float32Array, b: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(a, (value, index) => value + (b[index] as number));
}

function unitLength(x: Float32Array): Float32Array<ArrayBuffer> {
  let squares = 0;
  for (const value of x) squares += value * value;
  const length = Math.sqrt(squares) + MIN_LENGTH;
  return Float32Array.from(x, (value) => value / length);
}

function layerNorm(weight: HostTensor, bias: HostTensor, x: Float32Array): Float32Array<ArrayBuffer> {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const scale = 1 / Math.sqrt(variance + LAYER_NORM_EPS);
  return Float32Array.from(
    x,
    (value, i) => (value - mean) * scale * (weight.data[i] as number) + (bias.data[i] as number),
  );
}

const geluErf = (value: number): number => 0.5 * value * (1 + erf(value / Math.SQRT2));

const geluTanh = (value: number): number =>
  0.5 * value * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3)));

/** Error function within 1.2e-7, by the Chebyshev fit of erfc in Numerical Recipes (erfcc). */
function erf(x: number): number {
  const t = 1 / (1 + 0.5 * Math.abs(x));
  const coefficients = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
    -0.82215223, 0.17087277,
  ];
  const polynomial = coefficients.reduceRight((sum, coefficient) => sum * t + coefficient, 0);
  const tail = t * Math.exp(-x * x + polynomial);
  return x >= 0 ? 1 - tail : tail - 1;
}
