import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { fillTemplate, latentEdges, parseTemplate, trimEnds } from "../../src/engine/prompt";
import { failure } from "./errors";

interface Case {
  readonly name: string;
  readonly template: string;
  readonly question: string;
  readonly trim?: boolean;
  readonly filled?: readonly ({ readonly text: string } | { readonly latent: string })[];
  readonly error?: string;
}

const path = new URL("../../../tests/fixtures/prompt_cases.json", import.meta.url);
const cases = JSON.parse(readFileSync(path, "utf8")) as readonly Case[];

describe("prompt templates, as in tests/fixtures/prompt_cases.json", () => {
  test.each(cases)("$name", async ({ template, question, trim, filled, error }) => {
    const parse = () => parseTemplate(template);
    const fill = () => fillTemplate(trim ? trimEnds(parse()) : parse(), question);
    if (error !== undefined) {
      expect(await failure(fill)).toContain(error);
      return;
    }
    const plain = fill().map((each) => (each.kind === "text" ? { text: each.text } : { latent: each.edge }));
    expect(plain).toEqual(filled);
  });

  test("name their latent slots in order", () => {
    expect(latentEdges(parseTemplate("{latent:b->c} x {question} {latent:a->c}"))).toEqual(["b->c", "a->c"]);
  });
});
