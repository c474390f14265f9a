/** A part of `make fuzz`: some thousands of inputs for all readers together, and every input that was once read wrongly. */
import { describe, expect, test } from "vitest";
import { corpus, faultOf, fuzz } from "./fuzzing";
import { readers } from "./readers";

const INPUTS = 400;

describe.each(readers())("$name", (reader) => {
  test("refuses with one line what it cannot read", async () => {
    expect(await fuzz(reader, reader.short ?? INPUTS, 0)).toBeUndefined();
  });

  test("reads what it once read wrongly", async () => {
    for (const content of corpus(reader)) expect(await faultOf(reader, content)).toBeUndefined();
  });
});
