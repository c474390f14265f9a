import { describe, expect, test } from "vitest";
import type { RunEvent } from "../../src/engine/api";
import { loadTokenizer, StreamDecoder, type Tokenizer } from "../../src/engine/tokenizer";
import { progressAt } from "../../src/ui/model/progress";

/** tests/build/test_tokenizer_probe.py compares whole tokenizers with transformers; this shows single rules. */
const BYTES = Object.fromEntries(Array.from({ length: 256 }, (_, byte) => [hex(byte), byte]));
function hex(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

interface Parts {
  normalizer?: object;
  pre_tokenizer?: object;
  decoder?: object;
  added_tokens?: object[];
  model?: object;
}

const bpe = (words: readonly string[], more: object = {}): object => ({
  type: "BPE",
  vocab: Object.fromEntries(words.map((word, id) => [word, id])),
  merges: [],
  ...more,
});

const load = (parts: Parts, config: object = {}): Tokenizer =>
  loadTokenizer(JSON.stringify({ model: bpe([]), ...parts }), JSON.stringify(config), "a");

const SPACED = {
  model: bpe(["x", " ", "!", "=", "3"]),
  decoder: { type: "Fuse" },
};

describe("spaces before punctuation", () => {
  const text = (parts: Parts, config: object): string => load(parts, config).decode([0, 1, 2, 3, 4]);
  const unigram = {
    ...SPACED,
    model: { type: "Unigram", unk_id: 0, vocab: ["x", " ", "!", "=", "3"].map((w) => [w, -1]) },
  };
  const clean = { clean_up_tokenization_spaces: true };

  test("stay, unless the key is true and the model is not BPE", () => {
    expect(text(SPACED, {})).toBe("x !=3");
    expect(text(SPACED, clean)).toBe("x !=3");
    expect(text(unigram, {})).toBe("x !=3");
    expect(text(unigram, { clean_up_tokenization_spaces: false })).toBe("x !=3");
    expect(text(unigram, clean)).toBe("x!=3");
  });

  test("go with BPE too, if a second key insists", () => {
    const insists = { clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output: true };
    expect(text(SPACED, { ...clean, ...insists })).toBe("x!=3");
    expect(text(SPACED, insists)).toBe("x !=3");
  });

  test("that a later token takes away are replaced while streaming", () => {
    const stream = new StreamDecoder(load(unigram, clean));
    const pieces = [0, 1, 2, 3].map((id) => [stream.push(id), stream.replaces]);
    expect(pieces).toEqual([
      ["x", 0],
      [" ", 0],
      ["!", 1],
      ["=", 0],
    ]);
    const events = pieces.map(([piece, replaces], index) => ({
      at: index,
      event: {
        kind: "token",
        round: 0,
        agent: "a",
        tokenId: 0,
        text: piece,
        replaces,
        answer: true,
        ms: 0,
      } as RunEvent,
    }));
    const start = { kind: "turn-start", round: 0, agent: "a", promptTokens: 1, latentRows: 0 } as RunEvent;
    const shown = progressAt([{ at: 0, event: start }, ...events], 5);
    expect(shown.answer).toBe("x!=");
    expect(shown.turns[0]?.tokens.map((token) => token.text)).toEqual(["x", "", "!", "="]);
  });
});

test("the end of a turn shows its decoded text, also what was held back", () => {
  const events = [
    { kind: "turn-start", round: 0, agent: "a", promptTokens: 1, latentRows: 0 },
    { kind: "token", round: 0, agent: "a", tokenId: 0, text: "half", answer: true, ms: 0 },
    { kind: "turn-end", round: 0, agent: "a", text: "half\ufffd", decodedTokens: 2 },
  ].map((event, at) => ({ at, event: event as RunEvent }));
  expect(progressAt(events, 3).answer).toBe("half\ufffd");
});

describe("ids", () => {
  test("beyond the tokenizer are no text", () => {
    const tokenizer = load(SPACED);
    expect(tokenizer.decode([0, 99, 4])).toBe("x3");
    expect(tokenizer.decode([99])).toBe("");
    expect(tokenizer.tokenText(99)).toBe("");
  });

  test("of bytes become text with its byte order marks, and one replacement character a byte that is none", () => {
    const model = bpe([], { vocab: BYTES, byte_fallback: true, unk_token: null });
    const tokenizer = load({
      model,
      decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] },
    });
    expect(tokenizer.decode(tokenizer.encode("a\ufeffb\ufeff"))).toBe("a\ufeffb\ufeff");
    expect(tokenizer.decode([0xe2, 0x96])).toBe("\ufffd\ufffd");
  });

  test("of a Unigram model fall back to bytes", () => {
    const vocab = [["<unk>", 0], ["a", -1], ...Object.keys(BYTES).map((byte) => [byte, -20])];
    const tokenizer = load({ model: { type: "Unigram", unk_id: 0, vocab, byte_fallback: true } });
    expect(tokenizer.encode("aé")).toEqual([1, 2 + 0xc3, 2 + 0xa9]);
  });
});

describe("added tokens", () => {
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false };

  test("are found as whole words, with the white space they take", () => {
    const model = bpe(["a", "b", " ", "w", "k"]);
    const added_tokens = [
      { ...plain, id: 10, content: "w", single_word: true },
      { ...plain, id: 11, content: "<l>", lstrip: true },
      { ...plain, id: 12, content: "<r>", rstrip: true },
    ];
    const tokenizer = load({ model, added_tokens });
    expect(tokenizer.encode("w kw a")).toEqual([10, 2, 4, 3, 2, 0]);
    expect(tokenizer.encode("a \u00a0<l> <r> \ufeffb")).toEqual([0, 11, 2, 12, 1]);
  });

  test("that are normalised read and write what the normaliser makes of them", () => {
    const normalizer = {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    };
    const decoder = { type: "Replace", pattern: { String: "▁" }, content: " " };
    const model = bpe(["▁", "a", "b"]);
    const tokenizer = load({
      normalizer,
      decoder,
      model,
      added_tokens: [{ ...plain, id: 9, content: "<t>", normalized: true }],
    });
    expect(tokenizer.encode("a <t> b")).toEqual([0, 1, 9, 0, 2]);
    expect(tokenizer.decode([0, 1, 9, 0, 2])).toBe(" a <t> b");
  });
});

describe("steps before the model", () => {
  const pieces = (pre_tokenizer: object, text: string): string[] => {
    const tokenizer = load({
      pre_tokenizer,
      model: { type: "WordPiece", unk_token: "?", vocab: { "?": 0 } },
    });
    return new Array(tokenizer.encode(text).length).fill("?");
  };

  test("take every Unicode number for a digit", () => {
    const count = (individual_digits: boolean, text: string): number =>
      pieces({ type: "Digits", individual_digits }, text).length;
    expect(count(true, "a12½٣b")).toBe(6);
    expect(count(false, "a12½٣b")).toBe(3);
  });

  test("split as their behaviour says", () => {
    const count = (behavior: string): number =>
      pieces({ type: "Split", pattern: { String: "-" }, behavior, invert: false }, "a-b--c").length;
    expect(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"].map(count)).toEqual([
      3, 6, 4, 4, 5,
    ]);
  });
});
