import { describe, expect, test } from "vitest";
import { camelise, snakeise } from "../../src/formats/camel";
import { decodingProblem } from "../../src/formats/decoding";
import { parseFile } from "../../src/formats/format";
import { DECODING, MODE_NAMES, MODES } from "../../src/formats/generated/names";
import { QUESTIONS } from "../../src/formats/generated/validators";
import { lostKey } from "../../src/formats/names";

describe("keys", () => {
  const file = {
    latent_steps: 2,
    inner: { my_agent: { source_size: 3, tensors: { "ln_pre.weight": { dtype: "float32" } } } },
    provenance: { made_by: { the_way: 1 } },
    edges: [{ max_new_tokens: null }],
  };
  const typed = {
    latentSteps: 2,
    inner: { my_agent: { sourceSize: 3, tensors: { "ln_pre.weight": { dtype: "float32" } } } },
    provenance: { made_by: { the_way: 1 } },
    edges: [{ maxNewTokens: null }],
  };

  test("change to camelCase; names and what is free in form stay as they are", () => {
    expect(camelise(file)).toEqual(typed);
  });

  test("change back", () => {
    expect(snakeise(typed)).toEqual(file);
  });
});

test.each([
  [
    " <!doctype html><h1>Log in</h1>",
    "x is not valid JSON but a web page: a network may want you to log in first",
  ],
  ["[".repeat(1e5) + "]".repeat(1e5), "x: more than 64 levels deep"],
  ['[{"question": "q", "answer": 1e999}]', "x: a number is too large to be one"],
  ['[{"question": "q"}]', "x is not a list of questions: missing key '0.answer'"],
  ['[{"question": "q", "a\\nb": 1}]', "missing key '0.answer'; unknown key '0.a b'"],
  [`["${"a".repeat(1e5)}"]`, "…"],
])("a file that cannot be read is told in one line of readable length: %.20s", (text, words) => {
  const said = (() => {
    try {
      return String(parseFile(text, "x", QUESTIONS));
    } catch (error) {
      return (error as Error).message;
    }
  })();
  expect(said).toContain(words);
  expect(said.length).toBeLessThanOrEqual(1000);
  expect(said).not.toMatch(/[\n\r]|undefined/);
});

describe("lists of names", () => {
  test("have the modes in the order of the comparison", () => {
    expect(MODE_NAMES).toEqual(["latent", "text", "loop", "single"]);
    expect(MODES.map(({ name }) => name)).toEqual(MODE_NAMES);
  });
});

describe("decoding settings", () => {
  const own = Object.fromEntries(DECODING.map((setting) => [setting.name, setting.default]));

  test("are right by default", () => {
    expect(decodingProblem(own)).toBeUndefined();
  });

  test.each([
    [{ maxNewTokens: 0 }, "maxNewTokens must be a whole number, at least 1, got 0"],
    [{ maxNewTokens: 1.5 }, "maxNewTokens must be a whole number, at least 1, got 1.5"],
    [{ temperature: 11 }, "temperature must be from 0 to 10, got 11"],
    [{ topP: 0 }, "topP must be above 0 and at most 1, got 0"],
    [{ seed: undefined }, "seed must be a whole number, got undefined"],
    [{ textTokens: null }, undefined],
    [{ answerPrefix: 3 }, "answerPrefix must be a text, got 3"],
    [{ thinkBeforeAnswer: "yes" }, "thinkBeforeAnswer must be true or false, got yes"],
    [{ temperature: null, topK: null, repetitionPenalty: null, maxToolCalls: null }, undefined],
    [{ topK: -1 }, "topK must be a whole number, at least 0, got -1"],
    [{ repetitionPenalty: 0 }, "repetitionPenalty must be above 0 and at most 10, got 0"],
    [{ maxToolCalls: 1.5 }, "maxToolCalls must be a whole number from 0 on, or null, got 1.5"],
    [{ answerRetry: { needs: "box", append: "\n", maxNewTokens: 16 } }, undefined],
    [
      { answerRetry: { needs: "bag", append: "\n", maxNewTokens: 16 } },
      "answerRetry.needs must be one of box, choice, code, got bag",
    ],
    [
      { answerRetry: { needs: "box", append: "\n", maxNewTokens: 0 } },
      "answerRetry.maxNewTokens must be a whole number, at least 1, got 0",
    ],
  ])("say what is wrong: %o", (changes, problem) => {
    expect(decodingProblem({ ...own, ...changes } as Parameters<typeof decodingProblem>[0])).toBe(problem);
  });
});

test("a key that would get lost is found at any depth, and not in what is free in form", () => {
  const free = new Set(["provenance"]);
  expect(lostKey(JSON.parse('{"a": [{"__proto__": 1}]}'), free)).toBe("__proto__");
  expect(
    lostKey(JSON.parse('{"provenance": {"constructor": 1}, "b": ["constructor"]}'), free),
  ).toBeUndefined();
  expect(lostKey(JSON.parse(`${"[".repeat(50_000)}${"]".repeat(50_000)}`), free)).toBeUndefined();
});
