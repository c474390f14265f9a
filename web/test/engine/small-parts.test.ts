import { describe, expect, test } from "vitest";
import { topProbabilities } from "../../src/engine/lens";
import { applyInner, applyOuter } from "../../src/engine/processor/links";
import { LoadReporter } from "../../src/engine/progress";
import { UniformSource } from "../../src/engine/random";
import { pickLikeliest } from "../../src/engine/sample";
import { planChunks, type States } from "../../src/engine/states";
import { loadTokenizer, StreamDecoder } from "../../src/engine/tokenizer";
import { failure, says } from "./errors";

/** A byte-level tokenizer of a few tokens; `<s>` and `</s>` are special. */
const TOKENIZER = JSON.stringify({
  version: "1.0",
  added_tokens: [
    {
      id: 0,
      content: "</s>",
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    },
    {
      id: 1,
      content: "<s>",
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    },
  ],
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
  },
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    // "Ã" and "©" are how byte-level BPE writes the two bytes of "é".
    vocab: { "</s>": 0, "<s>": 1, a: 2, b: 3, Ġ: 4, Ã: 5, "©": 6, ab: 7 },
    merges: [["a", "b"]],
  },
});

describe("tokenizer", () => {
  const tokenizer = loadTokenizer(TOKENIZER, undefined, "a");

  test("adds no special tokens of its own, and recognises those in the text", () => {
    expect(tokenizer.encode("ab a")).toEqual([7, 4, 2]);
    expect(tokenizer.encode("<s>b")).toEqual([1, 3]);
    expect(tokenizer.encode("")).toEqual([]);
  });

  test("leaves special tokens out of decoded text", () => {
    expect(tokenizer.decode([1, 7, 5, 6, 0])).toBe("abé");
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.tokenText(0)).toBe("</s>");
  });

  test("streams text, holding back half a character", () => {
    const stream = new StreamDecoder(tokenizer);
    expect([2, 5, 6, 3].map((id) => stream.push(id))).toEqual(["a", "", "é", "b"]);
    expect(stream.text).toBe("aéb");
  });

  test("that cannot be read says whose it is", async () => {
    expect(await failure(() => loadTokenizer("{", undefined, "critic"))).toMatch(
      says("bad-manifest", "agent 'critic'"),
    );
  });
});

test("the logit lens gives the likeliest tokens with softmax probabilities", () => {
  const logits = { rows: 2, columns: 4, data: Float32Array.of(0, Math.log(3), 0, 0, 5, 1, 5, 9) };
  const text = (id: number): string => `t${id}`;
  const lens = topProbabilities(logits, 2, { tokenText: text });
  expect(lens[0]?.map((each) => [each.tokenId, each.text])).toEqual([
    [1, "t1"],
    [0, "t0"],
  ]);
  expect(lens[0]?.[0]?.probability).toBeCloseTo(0.5, 6);
  expect(lens[1]?.map((each) => each.tokenId)).toEqual([3, 0]);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  "the logit lens shows nothing of a row with %d",
  (value) => {
    const logits = { rows: 2, columns: 3, data: Float32Array.of(1, value, 0, 0, 1, 2) };
    const lens = topProbabilities(logits, 2, { tokenText: String });
    expect(lens.map((row) => row.map((each) => each.tokenId))).toEqual([[], [2, 1]]);
  },
);

describe("uniform numbers", () => {
  test("are the same for the same seed and others for another", () => {
    const draw = (seed: number): number[] => {
      const source = new UniformSource(seed);
      return Array.from({ length: 5 }, () => source.next());
    };
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    expect(draw(-1)).toHaveLength(5);
  });

  test("lie in [0, 1), spread evenly, and are float32 exactly", () => {
    const source = new UniformSource(42);
    const values = Array.from({ length: 20000 }, () => source.next());
    expect(values.every((value) => value >= 0 && value < 1 && Math.fround(value) === value)).toBe(true);
    expect(values.reduce((a, b) => a + b) / values.length).toBeCloseTo(0.5, 1);
  });
});

test("prompt pieces are split into prefill chunks row by row", () => {
  const piece = (rows: number): States => ({ rows }) as States;
  const [a, b] = [piece(5), piece(4)];
  const plan = planChunks([a, piece(0), b], 4).map((chunk) => [
    chunk.rows,
    chunk.copies.map(({ source, from, to, count }) => [source === a ? "a" : "b", from, to, count]),
  ]);
  expect(plan).toEqual([
    [4, [["a", 0, 0, 4]]],
    [
      4,
      [
        ["a", 4, 0, 1],
        ["b", 0, 1, 3],
      ],
    ],
    [1, [["b", 3, 0, 1]]],
  ]);
});

test("loading progress never falls, and ends at 1", () => {
  const fractions: number[] = [];
  const reporter = new LoadReporter((progress) => fractions.push(progress.fraction));
  reporter.manifest("https://host.test/s/system.json");
  reporter.download(100);
  reporter.bytes("x", 60, false);
  reporter.bytes("x", -60, false);
  reporter.bytes("x", 100, true);
  reporter.models(["a", "b"]);
  reporter.model("a", "compile", 1);
  reporter.model("b", "compile", 0.5);
  reporter.model("a", "upload", 1);
  reporter.model("b", "upload", 1);
  reporter.ready();
  expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
  expect(fractions.at(-1)).toBe(1);
});

describe("links in JavaScript (the comparison path)", () => {
  const tensor = (shape: number[], values: number[]) => ({ shape, data: Float32Array.from(values) });
  // GELU(1) = 0.8413447…, from the normal distribution's table.
  const gelu1 = 0.8413447;

  test("compute the paper's equations", () => {
    const inner = {
      sourceSize: 2,
      targetSize: 2,
      width: 1,
      tensors: [tensor([1, 2], [1, 0]), tensor([1], [0]), tensor([2, 1], [1, 2]), tensor([2], [0, 10])],
    };
    const [x, y] = applyInner(inner, "paper", Float32Array.of(1, 3));
    expect(x).toBeCloseTo(1 + gelu1, 6);
    expect(y).toBeCloseTo(3 + 2 * gelu1 + 10, 5);
    const outer = {
      ...inner,
      targetSize: 1,
      tensors: [
        tensor([1, 2], [1, 0]),
        tensor([1], [0]),
        tensor([1, 1], [1]),
        tensor([1], [0]),
        tensor([1, 2], [2, 1]),
        tensor([1], [0.5]),
      ],
    };
    expect(applyOuter(outer, "paper", Float32Array.of(1, 3))[0]).toBeCloseTo(2 + 3 + 0.5 + gelu1, 5);
  });
});

test.each([
  // Of .4, .2 and .1, which do not sum to 1, the shares are 4/7, 2/7 and 1/7.
  [1, 0, 0],
  [1, 0.57, 0],
  [1, 0.58, 1],
  [1, 0.86, 2],
  [1, 0.999, 2],
  // The first two reach 6/7; the shares of what is kept are 2/3 and 1/3.
  [0.8, 0.66, 0],
  [0.8, 0.67, 1],
  [0.8, 0.999, 1],
  [0.1, 0.999, 0],
])("of the likeliest tokens, top p %d and the draw %d take number %d", (topP, uniform, index) => {
  expect(pickLikeliest([0.4, 0.2, 0.1], 3, topP, uniform)).toBe(index);
});

test("tokens as likely as the last of the k likeliest stay", () => {
  expect(pickLikeliest([0.4, 0.2, 0.2, 0.1], 2, 1, 0.999)).toBe(2);
  expect(pickLikeliest([0.4, 0.2, 0.1, 0.1], 2, 1, 0.999)).toBe(1);
});
