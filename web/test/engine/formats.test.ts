/** Today's readers read the files of earlier format versions in tests/fixtures/formats-1, which are never edited. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseLinks } from "../../src/engine/links";
import { parseSystem } from "../../src/engine/system";
import { parseCatalog } from "../../src/ui/model/catalog";
import { failure, says } from "./errors";

const read = (name: string): string =>
  readFileSync(new URL(`../../../tests/fixtures/formats-1/${name}`, import.meta.url), "utf8");
const newer = (text: string): string => text.replace('"version": 1', '"version": 2');

/** The system that the link files belong to, reduced to what the reader needs. */
const agents = [
  { id: "guide", hiddenSize: 2 },
  { id: "teller", hiddenSize: 4 },
] as unknown as Parameters<typeof parseLinks>[1];
const edges = [{ id: "guide->teller", from: "guide", to: "teller", feedback: false }] as const;

describe("files of version 1", () => {
  test("system.json", () => {
    const system = parseSystem(read("system.json"), "system.json");
    expect(system.agents.map((agent) => [agent.id, agent.hiddenSize, agent.quantization])).toEqual([
      ["planner", 96, "q4f32_1"],
      ["critic", 128, "q4f32_1"],
      ["solver", 160, "q4f32_1"],
    ]);
    expect(system.edges.map((edge) => edge.feedback)).toEqual([false, false, true]);
    expect(system.files.some((file) => file.path === system.links)).toBe(true);
  });

  test.each(["paper", "ln_res"] as const)("recursivelink.json with links of the form %s", (variant) => {
    const links = parseLinks(read(`${variant}.recursivelink.json`), agents, edges);
    expect(links.variant).toBe(variant);
    const inner = links.inner.get("guide")?.tensors ?? [];
    const w1 = inner[variant === "paper" ? 0 : 2];
    expect([...(w1?.data ?? [])]).toEqual([-0.5, -0.375, -0.25, -0.125, 0, 0.125]);
    expect(links.outer.get("guide->teller")?.targetSize).toBe(4);
  });

  test("systems/index.json", () => {
    expect(parseCatalog(read("index.json"), "https://page.example/systems/index.json")).toMatchObject([
      { name: "hop-sequential", url: "https://page.example/systems/hop-sequential/system.json" },
    ]);
  });
});

describe("files of a newer version are refused with both versions", () => {
  test("system.json", async () => {
    const open = () => parseSystem(newer(read("system.json")), "system.json");
    expect(await failure(open)).toMatch(says("bad-manifest", "version 2 is newer than this page's 1"));
  });

  test("recursivelink.json", async () => {
    const open = () => parseLinks(newer(read("paper.recursivelink.json")), agents, edges);
    expect(await failure(open)).toMatch(says("bad-links", "version 2 is newer than this page's 1"));
  });

  test("systems/index.json", () => {
    const open = () => parseCatalog(newer(read("index.json")), "index.json");
    expect(open).toThrow("version 2 is newer than this page's 1; reload the page");
  });
});
