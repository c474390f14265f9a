/** What agents keep of their prompts, and what the KV cache of a model keeps of its agents' sequences. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { KvCache } from "../../src/engine/kv-cache";
import type { KvFunctions } from "../../src/engine/library";
import { splitLeading } from "../../src/engine/performer";
import { commonLength, leadingTokens, marksOf, prefixOf } from "../../src/engine/prefix";
import { runSystem } from "../../src/engine/recursion";
import type { Runtime, TvmObject } from "../../src/engine/runtime";
import { fakeStage, Log } from "./fake-agent";
import { agentJson, system } from "./fixtures";

const encode = (text: string): number[] => [...text].map((char) => char.charCodeAt(0));

describe("a prefix", () => {
  test("ends at the first slot, even if nothing arrives in it, or where the prompts differ", () => {
    const leading = leadingTokens(
      [
        { kind: "text", text: "plan q " },
        { kind: "latent", edge: "b->a" },
        { kind: "text", text: " go" },
      ],
      encode,
    );
    expect(leading).toEqual(encode("plan q "));
    expect(leadingTokens([{ kind: "latent", edge: "b->a" }], encode)).toEqual([]);
    expect(prefixOf(encode("plan q go"), leading, encode("plan  go"))).toEqual({
      shared: 7,
      beforeQuestion: 5,
    });
  });

  test("never has the last position of the prompt", () => {
    const prefix = { shared: 100, beforeQuestion: 40 };
    expect(marksOf(prefix, 150, false)).toEqual([40, 100]);
    expect(marksOf(prefix, 100, false)).toEqual([40, 99]);
    expect(marksOf(prefix, 41, false)).toEqual([40]);
    expect(marksOf(prefix, 1, true)).toEqual([]);
  });

  test("that is short is marked only where it must be", () => {
    const prefix = { shared: 10, beforeQuestion: 4 };
    expect(marksOf(prefix, 20, false)).toEqual([]);
    expect(marksOf(prefix, 20, true)).toEqual([10]);
    expect(marksOf({ shared: 50, beforeQuestion: 40 }, 60, false)).toEqual([40]);
    expect(marksOf({ shared: 50, beforeQuestion: 40 }, 60, true)).toEqual([40, 50]);
  });

  test("is split from the rest of the input", () => {
    const tokens = { kind: "tokens", ids: [1, 2, 3] } as const;
    const more = { kind: "tokens", ids: [4] } as const;
    expect(splitLeading([tokens, more], 0)).toEqual([[], [tokens, more]]);
    expect(splitLeading([tokens, more], 2)).toEqual([
      [{ kind: "tokens", ids: [1, 2] }],
      [{ kind: "tokens", ids: [3] }, more],
    ]);
    expect(splitLeading([tokens, more], 3)).toEqual([[tokens], [more]]);
  });
});

describe("a run", () => {
  const prompts = { a: "plan {question} {latent:b->a} go", b: "solve {question} {latent:a->b} go" };
  const agents = Object.entries(prompts).map(([id, template], index) => ({
    ...agentJson(id, 8 + index, []),
    prompt: { template, prefix: "", suffix: "" },
  }));
  const edges = [
    { id: "a->b", from: "a", to: "b" },
    { id: "b->a", from: "b", to: "a", feedback: true },
  ];
  const stage = (log: Log) => fakeStage(system({ agents, edges }), log, { keeps: true });

  test("feeds what follows the prefix in every round but the first", async () => {
    const log = new Log();
    const result = await runSystem(stage(log), { question: "q", rounds: 3, latentSteps: 1 });
    const fed = log.lines.filter((line) => line.startsWith("b begin") || line.startsWith("b feed"));
    expect(fed).toEqual([
      "b begin",
      'b feed "solve q " [a->b(in(a1))] " go" for hidden',
      "b begin after 8",
      'b feed [a->b(in(a1))] " go" for hidden',
      "b begin after 8",
      expect.stringContaining("b feed [a->b(in(a1))]"),
    ]);
    expect(result.turns.map(({ keptPositions = 0 }) => keptPositions)).toEqual([0, 0, 7, 8, 7, 8]);
  });

  test("counts the same whatever question came before it", async () => {
    const shared = stage(new Log());
    const options = { question: "q".repeat(60), rounds: 2, latentSteps: 1 };
    const [first, second] = [await runSystem(shared, options), await runSystem(shared, options)];
    const counts = (result: typeof first): unknown[] =>
      result.turns.map(({ forwardPositions, keptPositions }) => [forwardPositions, keptPositions]);
    expect(counts(second)).toEqual(counts(first));
  });

  test("computes the prefix of a question once, and what comes before the question once for all", async () => {
    const long = "w".repeat(50);
    const records = agents.map((agent) => ({
      ...agent,
      prompt: { ...agent.prompt, template: `${long}${agent.prompt.template}` },
    }));
    const kept = fakeStage(system({ agents: records, edges }), new Log(), { keeps: true });
    const computed = (): number[] => [...kept.agents.values()].map((agent) => agent.computed);
    const ask = async (question: string): Promise<number[]> => {
      const before = computed();
      await runSystem(kept, { question, rounds: 1, latentSteps: 1 });
      return computed().map((count, index) => count - (before[index] ?? 0));
    };
    const [one, again, other] = [await ask("x".repeat(40)), await ask("x".repeat(40)), await ask("yz")];
    expect((one[0] ?? 0) - (again[0] ?? 0)).toBe(`${long}plan ${"x".repeat(40)} `.length);
    expect(other[0]).toBe("yz  go".length);
  });
});

/** The runtime's KV cache, as far as positions and pages go. */
class FakeCache {
  readonly lengths = new Map<number, number>();
  constructor(readonly pages: number) {}
  readonly created: number[] = [];
  readonly create = (positions: number): TvmObject => {
    this.created.push(positions);
    this.lengths.clear();
    return {} as TvmObject;
  };
  readonly used = (): number =>
    [...this.lengths.values()].reduce((sum, each) => sum + Math.ceil(each / 16), 0);
  readonly functions = {
    addSequence: (_: unknown, id: number) => {
      if (this.lengths.has(id)) throw new Error("added twice");
      this.lengths.set(id, 0);
    },
    removeSequence: (_: unknown, id: number) => {
      if (!this.lengths.delete(id)) throw new Error("removed twice");
    },
    popPositions: (_: unknown, id: number, count: number) => {
      const length = this.lengths.get(id) ?? -1;
      if (count > length) throw new Error("too many popped");
      this.lengths.set(id, length - count);
    },
    beginForward: (_: unknown, [id]: number[], [count]: number[]) => {
      this.lengths.set(id as number, (this.lengths.get(id as number) ?? Number.NaN) + (count as number));
      if (this.used() > this.pages) throw new Error("the KV cache is full");
    },
    endForward: () => {},
  } as unknown as KvFunctions;
  readonly runtime = {
    keep: <T>(object: T): T => object,
    free: () => {},
    scoped: <T>(work: () => T): T => work(),
    int: (value: number) => value,
    shape: (sizes: number[]) => sizes,
  } as unknown as Runtime;
}

describe("a KV cache", () => {
  const turn = fc.record({
    id: fc.integer({ min: 0, max: 2 }),
    keep: fc.integer({ min: 0, max: 90 }),
    worth: fc.integer({ min: 0, max: 90 }),
    calls: fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 6 }),
  });

  test("keeps other sequences as long as there is room, and never overflows", () => {
    fc.assert(
      fc.property(fc.array(turn, { maxLength: 20 }), (turns) => {
        const positions = 128;
        const fake = new FakeCache(positions / 16);
        const cache = new KvCache(fake.runtime, fake.functions, fake.create, positions, 3);
        for (const { id, keep, worth, calls } of turns) {
          cache.reserve(1);
          const kept = Math.min(keep, cache.length(id));
          cache.begin(id, kept, worth);
          let length = kept;
          for (const count of calls) {
            if (length + count > positions) break;
            cache.extend(id, count, () => {});
            length += count;
          }
          expect(cache.length(id)).toBe(length);
          for (const [other, real] of fake.lengths) expect(cache.length(other)).toBe(real);
        }
        expect(fake.created).toEqual(turns.length > 0 ? [positions] : []);
      }),
    );
  });

  test("of one agent is as large as its turns need, and empty when it grows", () => {
    const fake = new FakeCache(1000);
    const cache = new KvCache(fake.runtime, fake.functions, fake.create, 700, 1);
    for (const room of [100, 256, 300, 20, 5000]) {
      cache.reserve(room);
      if (room === 300) expect(cache.length(0)).toBe(0);
      cache.begin(0, 0, 0);
      cache.extend(0, 20, () => {});
    }
    expect(fake.created).toEqual([256, 512, 700]);
    expect(() => cache.extend(0, 700, () => {})).toThrow("720 positions, its KV cache has 700");
  });
});

test("common length", () => {
  expect(commonLength([1, 2, 3], [1, 2, 4])).toBe(2);
  expect(commonLength([], [1])).toBe(0);
});
