import { describe, expect, test } from "vitest";
import { parseLinks } from "../../src/engine/links";
import { failure, says } from "./errors";
import { base64, linkJson, linksJson, system } from "./fixtures";

const { agents, edges } = system();
const parse = (data: unknown) => parseLinks(JSON.stringify(data), agents, edges);

describe("recursivelink.json", () => {
  test("gives tensors in the order of docs/abi.md", () => {
    const links = parse(linksJson());
    const outer = links.outer.get("a->b");
    expect(outer?.tensors.map((tensor) => tensor.shape)).toEqual([[2, 8], [2], [12, 2], [12], [12, 8], [12]]);
    expect(outer?.tensors[4]?.data[1]).toBeCloseTo(0.51, 6);
    expect(links.inner.get("c")?.tensors.map((tensor) => tensor.shape)).toEqual([
      [2, 16],
      [2],
      [16, 2],
      [16],
    ]);
  });

  test("has zeros for a bias that is left out", () => {
    const file = linksJson();
    const inner = linkJson(8, 8, false) as { tensors: Record<string, unknown> };
    delete inner.tensors.b1;
    expect([
      ...(parse({ ...file, inner: { ...(file.inner as object), a: inner } }).inner.get("a")?.tensors[1]
        ?.data ?? []),
    ]).toEqual([0, 0]);
  });

  test("may hold float16", () => {
    const file = linksJson();
    const inner = linkJson(8, 8, false) as { tensors: Record<string, unknown> };
    // 1.0 and -2.5 as IEEE half precision.
    const data = Buffer.from(Uint16Array.of(0x3c00, 0xc100).buffer).toString("base64");
    inner.tensors.b1 = { dtype: "float16", shape: [2], data };
    expect([
      ...(parse({ ...file, inner: { ...(file.inner as object), a: inner } }).inner.get("a")?.tensors[1]
        ?.data ?? []),
    ]).toEqual([1, -2.5]);
  });

  test("of the form normed have a scale and the activation that libraries compute for it", async () => {
    const file = linksJson();
    for (const [id, link] of Object.entries(
      file.inner as Record<string, { tensors: Record<string, unknown> }>,
    )) {
      const size = agents.find((agent) => agent.id === id)?.hiddenSize ?? 0;
      link.tensors.scale = { dtype: "float32", shape: [size], data: base64(Array(size).fill(0.25)) };
    }
    const links = parse({ ...file, variant: "normed", activation: "gelu_tanh" });
    expect(links.inner.get("a")?.tensors.at(-1)?.data).toEqual(new Float32Array(8).fill(0.25));
    expect(links.outer.get("a->b")?.tensors).toHaveLength(6);
    const refused = await failure(() => parse({ ...file, variant: "normed" }));
    expect(refused).toMatch(says("bad-links", "compiled agents compute activation 'gelu_tanh'"));
  });

  const inner = linksJson().inner as Record<string, ReturnType<typeof linkJson>>;
  const withTensor = (name: string, tensor: unknown) => ({
    inner: { ...inner, a: { ...inner.a, tensors: { ...(inner.a?.tensors as object), [name]: tensor } } },
  });
  const cases: readonly [string, Record<string, unknown>, string][] = [
    ["no link for an agent", { inner: {} }, "there is no inner link 'a'"],
    [
      "a link of the wrong size",
      { inner: { ...inner, a: linkJson(8, 12, false) } },
      "inner link 'a' maps hidden size 8 to 12, but the agents need 8 to 8",
    ],
    [
      "a tensor of the wrong shape",
      withTensor("w1", { dtype: "float32", shape: [8, 2], data: base64(Array(16).fill(0)) }),
      "must have shape [2, 8], got [8, 2]",
    ],
    [
      "too few bytes",
      withTensor("b1", { dtype: "float32", shape: [2], data: base64([1]) }),
      "needs 8 bytes, got 4",
    ],
    ["broken base64", withTensor("b1", { dtype: "float32", shape: [2], data: "*" }), "is not base64"],
    [
      "a NaN",
      withTensor("b1", { dtype: "float32", shape: [2], data: base64([1, Number.NaN]) }),
      "holds NaN or infinity",
    ],
    [
      "an unknown tensor",
      withTensor("w9", { dtype: "float32", shape: [1], data: base64([1]) }),
      "unknown tensor 'w9'",
    ],
    ["tensors of the other variant", { variant: "ln_res" }, "lacks tensor 'ln_pre.weight'"],
    ["an activation that libraries do not have", { activation: "gelu_tanh" }, "trained with 'gelu_tanh'"],
    ["another epsilon", { layer_norm_eps: 1e-6 }, "layer_norm_eps 0.00001"],
    ["another format", { format: "recursiveMASWebLLM" }, 'expected "recursivemas.links"'],
    ["an unknown key", { scale: 1 }, "unknown key 'scale'"],
  ];
  test.each(cases)("is refused with one clear line: %s", async (_, changes, message) => {
    expect(await failure(() => parse(linksJson(changes)))).toMatch(says("bad-links", message));
  });
});
