import { describe, expect, test } from "vitest";
import { decodeFloats, encodeFloats } from "../../src/formats/matrix";
import { accepted } from "../../src/ui/lib/accepted";
import { formatBytes, formatCount, formatDuration, formatPercent, showToken } from "../../src/ui/lib/format";
import { wilson } from "../../src/ui/lib/statistics";
import { cosine, norm, pairwise } from "../../src/ui/lib/vectors";
import { likelyOverlap } from "../../src/ui/model/likely";
import { openingQuestion, orderGroups, sample } from "../../src/ui/model/sample";
import { groupScores, scores, type Trial, toCsv } from "../../src/ui/model/tally";

const plain = (text: string): string => text.replaceAll("\u202f", " ");

describe("numbers for people", () => {
  test.each([
    [0, "0 B"],
    [999, "999 B"],
    [1_000, "1.0 kB"],
    [999_960, "1.0 MB"],
    [16_420_000, "16.4 MB"],
    [640_000_000, "640 MB"],
    [3_100_000_000, "3.1 GB"],
  ])("%d bytes are %s", (bytes, text) => expect(plain(formatBytes(bytes))).toBe(text));

  test.each([
    [12.4, "12 ms"],
    [1_340, "1.34 s"],
    [16_700, "16.7 s"],
    [59_990, "1 min 00 s"],
    [125_000, "2 min 05 s"],
    [3_599_400, "59 min 59 s"],
    [3_599_600, "1 h 00 min"],
    [11_250_000, "3 h 08 min"],
  ])("%d ms are %s", (ms, text) => expect(plain(formatDuration(ms))).toBe(text));

  test("counts and shares", () => {
    expect(plain(formatCount(1234567))).toBe("1 234 567");
    expect(plain(formatPercent(0.4275))).toBe("43 %");
    expect(plain(formatPercent(0.001))).toBe("<1 %");
    expect(plain(formatPercent(0))).toBe("0 %");
  });

  test("a token never disappears", () => {
    expect(showToken("")).toBe("∅");
    expect(showToken(" the")).toBe("·the");
    expect(showToken("\n")).toBe("↵");
    expect(showToken("\u0007")).toBe("�");
  });
});

describe("vectors", () => {
  const a = Float32Array.of(3, 4);

  test("lengths and angles", () => {
    expect(norm(a)).toBe(5);
    expect(cosine(a, Float32Array.of(-4, 3))).toBeCloseTo(0);
    expect(cosine(a, Float32Array.of(-6, -8))).toBeCloseTo(-1);
    expect(cosine(a, new Float32Array(2))).toBe(0);
    expect(() => cosine(a, new Float32Array(3))).toThrow(RangeError);
  });

  test("pairs are symmetric, and one with itself is 1", () => {
    expect(pairwise([1, 2, 4], (x, y) => x / y)).toEqual([1, 0.5, 0.25, 0.5, 1, 0.5, 0.25, 0.5, 1]);
  });

  test("survive base64 bit by bit", () => {
    const values = Float32Array.of(0, -0, 1e-45, Math.PI, -3.4e38, Number.NaN, Number.POSITIVE_INFINITY);
    expect(decodeFloats(encodeFloats(values))).toEqual(values);
    expect(decodeFloats("not base64!")).toBeUndefined();
    expect(decodeFloats("AAAA")).toBeUndefined();
  });

  test("readings overlap by their words, whatever their token ids", () => {
    const likely = (tokenId: number, text: string, probability: number) => ({ tokenId, text, probability });
    expect(likelyOverlap([likely(1, "a@1", 1)], [likely(9, " a@1", 1)])).toBe(1);
    expect(likelyOverlap([likely(1, "a", 0.81)], [likely(2, "a", 0.25)])).toBeCloseTo(0.45);
    expect(likelyOverlap([likely(1, "a", 1)], [likely(1, "b", 1)])).toBe(0);
  });
});

describe("measuring", () => {
  const trial = (patch: Partial<Trial>): Trial => ({
    question: 0,
    group: "1",
    mode: "latent",
    rounds: 1,
    right: true,
    decodedTokens: 1,
    ms: 10,
    ...patch,
  });

  test("Wilson's interval agrees with published values", () => {
    // R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    expect(wilson(81, 263)).toEqual([expect.closeTo(0.2553, 4), expect.closeTo(0.3662, 4)]);
    expect(wilson(0, 20)).toEqual([0, expect.closeTo(0.1611, 4)]);
    expect(wilson(0, 0)).toEqual([0, 1]);
  });

  test("scores count by mode and rounds", () => {
    const all = [
      trial({}),
      trial({ right: false, ms: 30 }),
      trial({ rounds: 2 }),
      trial({ mode: "text", decodedTokens: 19 }),
    ];
    expect(scores(all).map(({ mode, rounds, right, of }) => [mode, rounds, right, of])).toEqual([
      ["latent", 1, 1, 2],
      ["latent", 2, 1, 1],
      ["text", 1, 1, 1],
    ]);
    expect(scores(all)[0]).toMatchObject({ accuracy: 0.5, ms: 20 });
  });

  test("groups count apart, in the order of their numbers", () => {
    const all = [trial({ group: "10" }), trial({ group: "2", right: false }), trial({ group: undefined })];
    expect(groupScores(all, "latent").map(({ group, accuracy }) => [group, accuracy])).toEqual([
      ["10", 1],
      ["2", 0],
    ]);
    expect(orderGroups(["10", "2", "1", "2"])).toEqual(["1", "2", "10"]);
  });

  test("a sample has as many of every group as can be", () => {
    const held = Array.from({ length: 90 }, (_, index) => ({ group: String(1 + (index % 18)) }));
    const chosen = sample(held, 36).map((index) => held[index]?.group);
    expect(new Set(chosen).size).toBe(18);
    expect(sample(held, 36)).toEqual(sample(held, 36));
    expect(new Set(sample(held, 1000)).size).toBe(90);
    expect(sample([{}, {}, {}], 2)).toEqual([0, 1]);
  });

  test("the question to begin with is a hard one", () => {
    const held = Array.from({ length: 36 }, (_, index) => ({ group: String(1 + (index % 18)) }));
    expect(held[openingQuestion(held)]?.group).toBe("15");
    expect(openingQuestion([{}, {}])).toBe(0);
  });

  test("CSV quotes what needs it", () => {
    expect(toCsv([trial({ group: 'a,"b"' })])).toBe(
      'question,group,mode,rounds,right,decoded_tokens,ms\n1,"a,""b""",latent,1,1,1,10.0\n',
    );
  });
});

describe("a number field", () => {
  test.each([
    ["3", 3],
    [" 64 ", 64],
    ["1.5", undefined],
    ["0", undefined],
    ["65", undefined],
    ["", undefined],
    ["many", undefined],
  ])("of whole numbers from 1 to 64 takes '%s' as %s", (text, expected) => {
    expect(accepted(text, { min: 1, max: 64, whole: true })).toBe(expected);
  });

  test("of any numbers takes fractions", () => {
    expect(accepted("0.25", { min: 0, max: 1, whole: false })).toBe(0.25);
  });
});
