/** The processor's decoder and links, by hand; tests/browser/test_processor.py compares whole systems with PyTorch. */
import { describe, expect, test } from "vitest";
import type { Link } from "../../src/engine/links";
import { parseConfig } from "../../src/engine/processor/config";
import { Decoder, Sequence } from "../../src/engine/processor/decoder";
import { processorProblem } from "../../src/engine/processor/fits";
import { applyInner } from "../../src/engine/processor/links";
import { dot, linear } from "../../src/engine/processor/matrix";
import { Processor } from "../../src/engine/processor/processor";
import type { AgentSpec } from "../../src/engine/system";
import { failure, says } from "./errors";
import { system } from "./fixtures";
import { CONFIG, weights } from "./tiny-decoder";

describe("the processor's decoder", () => {
  test("goes on after a cut with the bits of a sequence that was never longer", () => {
    const decoder = new Decoder(CONFIG, weights(), "a");
    const read = (sequence: Sequence, ids: number[]): number[] => {
      let last = new Float32Array();
      for (const id of ids) last = decoder.extend(sequence, decoder.embed(id));
      return [...last];
    };
    const whole = read(new Sequence(2), [1, 2, 3, 4]);
    const cut = new Sequence(2);
    read(cut, [1, 2, 5, 6, 6]);
    cut.cut(2);
    expect(cut.length).toBe(2);
    expect(read(cut, [3, 4])).toEqual(whole);
    expect(read(new Sequence(2), [2, 1, 3, 4])).not.toEqual(whole);
  });

  test("refuses weights of another shape, and says which", async () => {
    const odd = weights();
    odd.set("model.norm.weight", { shape: [5], data: new Float32Array(5) });
    const make = (): Decoder => new Decoder(CONFIG, odd, "a");
    expect(await failure(make)).toMatch(
      says("bad-manifest", "agent 'a': weight 'model.norm.weight' is [5], expected [4]"),
    );
    odd.delete("model.norm.weight");
    expect(await failure(make)).toMatch(says("bad-manifest", "'model.norm.weight' is missing"));
  });

  test("sums any number of products", () => {
    const [a, b] = [Float32Array.of(1, 2, 3), Float32Array.of(4, 5, 6)];
    expect(dot(a, 0, b, 0, 3)).toBe(32);
    expect(dot(a, 1, b, 0, 2)).toBe(2 * 4 + 3 * 5);
    expect([...linear(Float32Array.of(1, 0, 2, 0, 1, 3), Float32Array.of(10, 20), a)]).toEqual([17, 31]);
  });
});

test("links of unit length divide by the length first", () => {
  const zero = (...shape: number[]) => ({ shape, data: new Float32Array(shape.reduce((x, y) => x * y, 1)) });
  const link: Link = {
    sourceSize: 2,
    targetSize: 2,
    width: 1,
    tensors: [zero(1, 2), zero(1), zero(2, 1), zero(2), { shape: [2], data: Float32Array.of(2, 10) }],
  };
  const [x, y] = applyInner(link, "normed", Float32Array.of(3, 4));
  expect(x).toBeCloseTo(1.2, 5);
  expect(y).toBeCloseTo(8, 5);
});

describe("what the processor runs", () => {
  const [spec] = system().agents as [AgentSpec, ...AgentSpec[]];
  const config = { ...CONFIG, hidden_size: spec.hiddenSize, vocab_size: spec.vocabSize };

  test("is told before anything is loaded", async () => {
    expect(processorProblem({ agents: [spec] })).toBeUndefined();
    const packed = { agents: [{ ...spec, quantization: "q4f32_1" as const }] };
    expect(processorProblem(packed)).toContain("agent 'a' is qwen2 in q4f32_1;");
    expect(processorProblem({ agents: [{ ...spec, architecture: "gemma3_text" }] })).toContain("gemma3_text");
    expect(await failure(() => new Processor(packed))).toMatch(says("no-webgpu", "q4f32_1"));
  });

  test.each([
    [{ rope_scaling: { factor: 8 } }, "model_config.rope_scaling"],
    [{ num_attention_heads: 3, num_key_value_heads: 2 }, "has 3 heads for 2 of keys and values"],
    [{ hidden_size: spec.hiddenSize + 1 }, "has hidden size 9"],
    [{ qkv_name: "attn" }, "model_config.qkv_name"],
    [{ head_dim: 3 }, "model_config.head_dim"],
  ])("is refused for %o", async (change, part) => {
    expect(parseConfig(JSON.stringify({ model_config: config }), spec).head_dim).toBe(4);
    const text = JSON.stringify({ model_config: { ...config, ...change } });
    expect(await failure(() => parseConfig(text, spec))).toMatch(says("bad-manifest", part));
  });

  test("is refused for a configuration that is no JSON", async () => {
    expect(await failure(() => parseConfig("{", spec))).toMatch(says("bad-manifest", "not valid JSON"));
  });
});
