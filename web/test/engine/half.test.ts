import { describe, expect, test } from "vitest";
import { bfloatToFloat, floatToHalf, halfToFloat } from "../../src/engine/half";

describe("float16", () => {
  test("every bit pattern survives the way to float32 and back", () => {
    const all = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);
    const back = floatToHalf(halfToFloat(all));
    const isNan = (bits: number) => (bits & 0x7fff) > 0x7c00;
    const wrong = [...all].filter((bits) => {
      const came = back[bits] ?? -1;
      return isNan(bits) ? !isNan(came) : came !== bits;
    });
    expect(wrong).toEqual([]);
  });

  test("rounds to the nearest, ties to even, and overflows to infinity", () => {
    const values = Float32Array.of(
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      65519,
      65520,
      2 ** -25,
      2 ** -25 * 1.5,
      -0,
    );
    expect([...floatToHalf(values)]).toEqual([0x3c00, 0x3c02, 0x7bff, 0x7c00, 0, 1, 0x8000]);
  });
});

test("bfloat16 is the upper half of float32", () => {
  expect([...bfloatToFloat(Uint16Array.of(0x3f80, 0xc020))]).toEqual([1, -2.5]);
});
