/** Helpers of the readers: good files, and how the page decodes what it fetched. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FIXTURES = fileURLToPath(new URL("../../../tests/fixtures/", import.meta.url));

/** @returns a file of tests/fixtures. */
export const fixture = (name: string): Buffer => readFileSync(FIXTURES + name);

/** @returns the content of a JSON file of tests/fixtures. */
export const cases = <T>(name: string): T => JSON.parse(fixture(name).toString()) as T;

export const textOf = (content: Buffer): string => new TextDecoder().decode(content);

export const json = (...values: readonly unknown[]): readonly string[] =>
  values.map((value) => JSON.stringify(value));
