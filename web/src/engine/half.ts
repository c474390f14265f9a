/** Converts IEEE float16 and bfloat16, because not every JavaScript engine can. */

/** @returns the float32 values of float16 bit patterns. */
export function halfToFloat(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = halfValue(bits[i] as number);
  return out;
}

function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** @returns the float16 bit patterns nearest to float32 values, ties to even. */
export function floatToHalf(values: Float32Array): Uint16Array<ArrayBuffer> {
  const out = new Uint16Array(values.length);
  const word = new Uint32Array(1);
  const float = new Float32Array(word.buffer);
  for (let i = 0; i < values.length; i++) {
    float[0] = values[i] as number;
    out[i] = halfBits(word[0] as number);
  }
  return out;
}

function halfBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // Below 2^-14 the float16 is subnormal: a multiple of 2^-24.
  const exponent = magnitude >>> 23;
  const shift = exponent < 113 ? 126 - exponent : 13;
  if (shift > 25) return sign;
  const mantissa = exponent < 113 ? (magnitude & 0x7fffff) | 0x800000 : magnitude - 0x38000000;
  const truncated = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const halfway = 1 << (shift - 1);
  const up = rest > halfway || (rest === halfway && (truncated & 1) === 1) ? 1 : 0;
  return sign | (truncated + up);
}

/** @returns the float32 values of bfloat16 bit patterns. */
export function bfloatToFloat(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = (bits[i] as number) << 16;
  return new Float32Array(words.buffer);
}

/** Element types of a model's states. */
export type StateDtype = "float32" | "float16";

/** @returns float32 values of little-endian elements. */
export function bytesToFloat(bytes: Uint8Array<ArrayBuffer>, dtype: StateDtype): Float32Array<ArrayBuffer> {
  return dtype === "float32" ? new Float32Array(bytes.buffer) : halfToFloat(new Uint16Array(bytes.buffer));
}

/** @returns little-endian elements of the dtype. */
export function floatToBytes(values: Float32Array<ArrayBuffer>, dtype: StateDtype): Uint8Array<ArrayBuffer> {
  return new Uint8Array((dtype === "float32" ? values : floatToHalf(values)).buffer, 0);
}
