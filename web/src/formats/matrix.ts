/** Float32 numbers as base64 of their little-endian bytes. */
import * as v from "valibot";

const BLOCK = 0x8000;

export function encodeFloats(values: Float32Array): string {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    view.setFloat32(index * 4, value, true);
  });
  let text = "";
  for (let at = 0; at < bytes.length; at += BLOCK)
    text += String.fromCharCode(...bytes.subarray(at, at + BLOCK));
  return btoa(text);
}

/** @returns undefined if the text is not base64 of whole float32 numbers. */
export function decodeFloats(text: string): Float32Array | undefined {
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    return undefined;
  }
  if (binary.length % 4 !== 0) return undefined;
  const view = new DataView(new ArrayBuffer(binary.length));
  for (let at = 0; at < binary.length; at++) view.setUint8(at, binary.charCodeAt(at));
  return Float32Array.from({ length: binary.length / 4 }, (_, index) => view.getFloat32(index * 4, true));
}

/** In a schema: such a text, decoded. */
export const floats = v.pipe(
  v.string(),
  v.transform(decodeFloats),
  v.check((values) => values !== undefined, "expected base64 of float32 numbers"),
);
