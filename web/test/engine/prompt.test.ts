import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  fieldNames,
  fillTemplate,
  latentEdges,
  missingField,
  parseTemplate,
  type Trim,
} from "../../src/engine/prompt";
import { failure } from "./errors";

interface Case {
  readonly name: string;
  readonly template: string;
  readonly question: string;
  readonly fields?: Readonly<Record<string, string>>;
  readonly trim?: Trim;
  readonly filled?: readonly ({ readonly text: string } | { readonly latent: string })[];
  readonly error?: string;
  /** The field that the question lacks. */
  readonly missing?: string;
}

const path = new URL("../../../tests/fixtures/prompt_cases.json", import.meta.url);
const cases = JSON.parse(readFileSync(path, "utf8")) as readonly Case[];

describe("prompt templates, as in tests/fixtures/prompt_cases.json", () => {
  test.each(cases)("$name", async ({ template, question, fields, trim, filled, error, missing }) => {
    const values = { ...fields, question };
    const fill = () => fillTemplate(parseTemplate(template), values, trim);
    if (error !== undefined) {
      expect(await failure(fill)).toContain(error);
      return;
    }
    expect(missingField(parseTemplate(template), values)).toBe(missing);
    if (missing !== undefined) return;
    const plain = fill().map((each) => (each.kind === "text" ? { text: each.text } : { latent: each.edge }));
    expect(plain).toEqual(filled);
  });

  test("name the columns that they show or ask about, each once", () => {
    const template = "{a} {if b = x}{c}{else}{a}{end} {question} {latent:a->b}";
    expect(fieldNames(parseTemplate(template))).toEqual(["a", "b", "c", "question"]);
  });

  test("name their latent slots in order", () => {
    expect(latentEdges(parseTemplate("{latent:b->c} x {question} {latent:a->c}"))).toEqual(["b->c", "a->c"]);
  });
});
