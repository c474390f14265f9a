import { describe, expect, test } from "vitest";
import { added } from "../../src/engine/counters";
import type { Picking } from "../../src/engine/performer";
import { runSystem, type Stage } from "../../src/engine/recursion";
import type { Counters, RunEvent } from "../../src/engine/types";
import { failure, says } from "./errors";
import { type FakeAgent, type FakeOptions, fakeStage, Log } from "./fake-agent";
import { agentJson, system } from "./fixtures";

const A = 65;
const B = 66;
const OPTIONS: FakeOptions = { decodes: [[A, B]] };
const fresh = (): FakeOptions => ({ decodes: [[A, B]] });

/** What the agents were fed, in order. */
const feeds = (log: Log): string[] => log.lines.filter((line) => line.includes(" feed "));

describe("a ring of three agents in latent mode", () => {
  test("runs every agent in every round, hands over along edges, and feeds back into the next round", async () => {
    const log = new Log();
    const result = await runSystem(fakeStage(system(), log, fresh()), { question: "q", latentSteps: 2 });
    expect(feeds(log)).toEqual([
      'a feed "<a q " ">" for hidden',
      'b feed "<b q " [a->b(in(a1)) a->b(in(a2))] ">" for hidden',
      'c feed "<c q " [b->c(in(b1)) b->c(in(b2))] ">" for hidden',
      'a feed "<a q " [c->a(in(c1)) c->a(in(c2))] ">" for hidden',
      'b feed "<b q " [a->b(in(a1)) a->b(in(a2))] ">" for hidden',
      'c feed "<c q " [b->c(in(b1)) b->c(in(b2))] ">" "=" for logits',
    ]);
    expect(log.lines.slice(0, 5)).toEqual([
      "a begin",
      'a feed "<a q " ">" for hidden',
      "a think",
      "a hand over a->b",
      "a sync",
    ]);
    expect(result).toMatchObject({
      answer: "AB",
      stopReason: "stop-token",
      decodedTokens: 2,
      answerTokenIds: [A, B],
      totalLatentSteps: 10,
      rounds: 2,
    });
    expect(log.alive).toBe(0);
  });

  test("reports turns, steps, hand-offs and tokens in order", async () => {
    const events: RunEvent[] = [];
    const stage = fakeStage(system(), new Log(), fresh());
    await runSystem(
      stage,
      { question: "q", rounds: 1, latentSteps: 1 },
      { onEvent: (event) => events.push(event) },
    );
    expect(events.map((event) => `${event.kind} ${"agent" in event ? event.agent : event.edge}`)).toEqual([
      "turn-start a",
      "step a",
      "handoff a->b",
      "turn-end a",
      "turn-start b",
      "step b",
      "handoff b->c",
      "turn-end b",
      "turn-start c",
      "token c",
      "token c",
      "turn-end c",
    ]);
    expect(events[4]).toMatchObject({ kind: "turn-start", promptTokens: 6, latentRows: 1 });
  });

  test("reads back nothing unless the trace asks, and then everything it asks for", async () => {
    const stage = () => fakeStage(system(), new Log(), fresh());
    const plain = await runSystem(stage(), { question: "q" });
    expect(plain.handoffs.every((each) => each.states === undefined)).toBe(true);
    const trace = { handoffs: true, thoughts: true, lensTopK: 1 };
    const traced = await runSystem(stage(), { question: "q", trace });
    expect(traced.handoffs.map((each) => [each.edge, each.states?.rows, each.states?.columns])).toEqual([
      ["a->b", 3, 12],
      ["b->c", 3, 16],
      ["c->a", 3, 8],
      ["a->b", 3, 12],
      ["b->c", 3, 16],
    ]);
    expect(traced.turns.map((turn) => turn.thoughts?.rows)).toEqual([3, 3, 3, 3, 3, undefined]);
    expect(traced.turns[0]?.lens).toHaveLength(3);
  });

  test("reads each thought at once if asked, and does nothing else otherwise", async () => {
    const ask = async (more: object): Promise<[readonly string[], RunEvent[]]> => {
      const [log, events]: [Log, RunEvent[]] = [new Log(), []];
      const options = { question: "q", latentSteps: 2, ...more };
      await runSystem(fakeStage(system(), log, fresh()), options, { onEvent: (event) => events.push(event) });
      expect(log.alive).toBe(0);
      return [log.lines, events.filter(({ kind }) => kind === "step")];
    };
    const [plain, steps] = await ask({ trace: { lensTopK: 2 } });
    const [aloud, read] = await ask({ trace: { lensTopK: 2 }, lensEachStep: true });
    expect(aloud).toEqual(plain);
    expect(steps.some((step) => "lens" in step)).toBe(false);
    expect(read).toHaveLength(10);
    for (const step of read)
      expect(step).toMatchObject({ lens: [{ probability: 0.5 }, { probability: 0.5 }] });
    const [, untraced] = await ask({ lensEachStep: true });
    expect(untraced.some((step) => "lens" in step)).toBe(false);
  });

  test.each([
    [false, false, 5],
    [true, false, 6],
    [false, true, 20],
  ])("leaves the trace out of times and counts (%s, %s)", async (thinkBeforeAnswer, lensEachStep, wanted) => {
    let reads = 0;
    const plain = fakeStage(system(), new Log(), fresh());
    const count = (): Counters => ({ ...plain.counters.snapshot(), syncs: reads });
    const stage: Stage = {
      ...plain,
      now: () => 1000 * reads,
      counters: { snapshot: count, since: (earlier) => added(count(), earlier) },
    };
    for (const agent of plain.agents.values()) {
      const { lens } = agent;
      agent.lens = (states, k) => {
        reads += 1;
        return lens(states, k);
      };
    }
    const decoding = { thinkBeforeAnswer };
    const steps: (RunEvent & { kind: "step" })[] = [];
    const onEvent = (event: RunEvent): unknown => event.kind === "step" && steps.push(event);
    const options = { question: "q", trace: { lensTopK: 1 }, decoding, lensEachStep };
    const result = await runSystem(stage, options, { onEvent });
    expect(reads).toBe(wanted);
    const spent = [result, ...result.turns, ...steps].map((each) => [each.ms, each.counters?.syncs]);
    expect(new Set(spent.map(String))).toEqual(new Set(["0,0"]));
  });

  test("leaves the slot of a switched-off edge empty", async () => {
    const log = new Log();
    await runSystem(fakeStage(system(), log, fresh()), { question: "q", rounds: 1, edges: ["b->c"] });
    expect(feeds(log)[1]).toBe('b feed "<b q " ">" for hidden');
    expect(log.lines).not.toContain("a hand over a->b");
  });

  test("runs the agents it is told to in another order, with feedback where the order says so", async () => {
    const log = new Log();
    const order = ["c", "a"];
    await runSystem(fakeStage(system(), log, fresh()), { question: "q", rounds: 2, latentSteps: 1, order });
    expect(feeds(log)).toEqual([
      'c feed "<c q " ">" for hidden',
      'a feed "<a q " [c->a(in(c1))] ">" for hidden',
      'c feed "<c q " ">" for hidden',
      'a feed "<a q " [c->a(in(c1))] ">" "=" for logits',
    ]);
    expect(log.alive).toBe(0);
  });

  test.each([
    [["a", "x"], "order names an unknown agent 'x'"],
    [["a", "a"], "none twice"],
    [[], "at least one agent"],
  ])("refuses the order %j", async (order, message) => {
    const run = () => runSystem(fakeStage(system(), new Log(), fresh()), { question: "q", order });
    expect(await failure(run)).toMatch(says("bad-option", message));
  });

  test("hands over zeros, or what was kept from another run, in place of thoughts", async () => {
    const log = new Log();
    const size = 12;
    const kept = (value: number) => ({ rows: 1, columns: size, data: new Float32Array(size).fill(value) });
    const options = {
      question: "q",
      rounds: 3,
      replace: { "b->c": "zeros", "a->b": [kept(7), kept(8)] },
    } as const;
    await runSystem(fakeStage(system(), log, fresh()), options);
    const toB = feeds(log).filter((line) => line.startsWith("b "));
    expect(toB.map((line) => line.match(/\[.*?\]/)?.[0])).toEqual(["[up(7)]", "[up(8)]", "[up(8)]"]);
    const toC = feeds(log).filter((line) => line.startsWith("c "));
    expect(toC.every((line) => /\[up\(0\)( up\(0\))*\]/.test(line))).toBe(true);
    expect(log.lines).not.toContain("a hand over a->b");
    expect(log.lines).toContain("c hand over c->a");
    expect(log.alive).toBe(0);
  });

  test("uses the first round's prompt in round 1 only, and a run's own prompts instead", async () => {
    const first = { template: "first {question}" };
    const agents = [{ ...agentJson("a", 8, []), first_round_prompt: first }];
    const log = new Log();
    const solo = system({ agents, edges: [] });
    await runSystem(fakeStage(solo, log, fresh()), { question: "q", rounds: 2 });
    await runSystem(fakeStage(solo, log, fresh()), {
      question: "{x}",
      rounds: 2,
      prompts: { a: { firstRoundPrompt: "own {question}" } },
    });
    expect(feeds(log)).toEqual([
      'a feed "first q" for hidden',
      'a feed "<a q >" "=" for logits',
      'a feed "own {x}" for hidden',
      'a feed "<a {x} >" "=" for logits',
    ]);
  });

  test("asks the last agent alone with a prompt of its own, or with the run's own", async () => {
    const agents = [{ ...agentJson("a", 8, []), single_prompt: { template: "alone {question}" } }];
    const log = new Log();
    const solo = system({ agents, edges: [] });
    const own = { a: { singlePrompt: "own {question}" } };
    await runSystem(fakeStage(solo, log, fresh()), { question: "q", mode: "single" });
    await runSystem(fakeStage(solo, log, fresh()), { question: "q", mode: "single", prompts: own });
    await runSystem(fakeStage(solo, log, fresh()), {
      question: "q",
      mode: "loop",
      rounds: 1,
      latentSteps: 1,
    });
    await runSystem(fakeStage(solo, log, fresh()), { question: "q", rounds: 1 });
    expect(feeds(log).filter((line) => !line.includes('feed "="'))).toEqual([
      'a feed "alone q" "=" for logits',
      'a feed "own q" "=" for logits',
      'a feed "alone q" for hidden',
      'a feed "<a q >" "=" for logits',
    ]);
  });

  test("thinks before it answers when the system says so: M thoughts, R_in of the last one, then the prefix", async () => {
    const log = new Log();
    const options = { question: "q", rounds: 1, latentSteps: 2, decoding: { thinkBeforeAnswer: true } };
    const result = await runSystem(fakeStage(system(), log, fresh()), options);
    expect(log.lines.slice(log.lines.indexOf("c begin"))).toEqual([
      "c begin",
      'c feed "<c q " [b->c(in(b1)) b->c(in(b2))] ">" for hidden',
      "c think",
      "c think",
      'c feed "=" for logits',
      "c decode 65",
      "c decode 66",
    ]);
    expect(result.totalLatentSteps).toBe(6);
  });
});

describe("agents that are loaded one after another", () => {
  test("read their hand-offs from the CPU, feedback too, and leave nothing on the GPU", async () => {
    const log = new Log();
    const entered: string[] = [];
    const stage = fakeStage(system(), log, fresh(), false);
    const enter: Stage["enter"] = (id) => {
      entered.push(`${id}, ${log.alive} alive`);
      return stage.enter(id);
    };
    const options = { question: "q", latentSteps: 1, trace: { handoffs: true } };
    const result = await runSystem({ ...stage, enter }, options);
    expect(entered).toEqual(["a", "b", "c", "a", "b", "c"].map((id) => `${id}, 0 alive`));
    // Rows that were read back are zeros here.
    expect(feeds(log)).toEqual([
      'a feed "<a q " ">" for hidden',
      'b feed "<b q " [up(0)] ">" for hidden',
      'c feed "<c q " [up(0)] ">" for hidden',
      'a feed "<a q " [up(0)] ">" for hidden',
      'b feed "<b q " [up(0)] ">" for hidden',
      'c feed "<c q " [up(0)] ">" "=" for logits',
    ]);
    expect(result.handoffs.every(({ states }) => states?.rows === 1)).toBe(true);
    expect(log.alive).toBe(0);
  });
});

describe("what a system says of its agents", () => {
  const solo = (changes: object, more: object = {}) =>
    system({ agents: [{ ...agentJson("a", 8, []), ...changes }], edges: [], ...more });

  test("fields stand in the prompts of the agents that name them; a missing one is refused", async () => {
    const log = new Log();
    const facts = solo({ prompt: { template: "{facts} {if kind = sum}add{else}look{end} {question}" } });
    const options = { question: "q", rounds: 1, fields: { facts: "a {b}", kind: "sum" } };
    await runSystem(fakeStage(facts, log, fresh()), options);
    expect(feeds(log)).toEqual(['a feed "a {b} add q" "=" for logits']);
    const { facts: _, ...fewer } = options.fields;
    const said = await failure(() =>
      runSystem(fakeStage(facts, log, fresh()), { ...options, fields: fewer }),
    );
    expect(said).toMatch(says("bad-option", "agent 'a': its prompt needs the field 'facts'"));
  });

  test("an agent's own number of latent steps stands, whatever the run's is", async () => {
    const agents = [{ ...agentJson("a", 8, []), latent_steps: 5 }, agentJson("b", 12, ["a->b"])];
    const edges = [{ id: "a->b", from: "a", to: "b" }];
    const two = system({ agents, edges });
    const options = { question: "q", rounds: 2, latentSteps: 2 };
    const { turns } = await runSystem(fakeStage(two, new Log(), fresh()), options);
    expect(turns.map(({ latentSteps }) => latentSteps)).toEqual([5, 2, 5, 0]);
  });

  test("a setting that is null is what the agent's checkpoint says", async () => {
    const sampling = { temperature: 0.6, top_p: 0.9, top_k: 20, repetition_penalty: 1.1 };
    const own = solo({ sampling }, { decoding: { temperature: null, top_p: 0.5, top_k: null } });
    const stage = fakeStage(own, new Log(), fresh());
    const picks: Picking[] = [];
    const agent = stage.agents.get("a") as FakeAgent;
    const { pick } = agent;
    agent.pick = (picking?: Picking) => {
      picks.push({ ...(picking as Picking), written: [...(picking?.written ?? [])] });
      return pick();
    };
    await runSystem(stage, { question: "q", rounds: 1 });
    expect(picks.map(({ uniform: _, ...rest }) => rest)).toEqual(
      [[], [A], [A, B]].map((written) => ({
        temperature: 0.6,
        topP: 0.5,
        topK: 20,
        repetitionPenalty: 1.1,
        written,
      })),
    );
  });

  const codes = (text: string): number[] => [...text].map((letter) => letter.charCodeAt(0));
  const retry = { needs: "box", append: "! \\boxed{", max_new_tokens: 3 };

  test("an answer without a box goes on from its own text, in a context of its own", async () => {
    const log = new Log();
    const events: RunEvent[] = [];
    const boxed = solo({}, { decoding: { answer_retry: retry } });
    const stage = fakeStage(boxed, log, { decodes: [codes("it is 4"), codes("4}")] });
    const hooks = { onEvent: (event: RunEvent) => events.push(event) };
    const result = await runSystem(stage, { question: "q", rounds: 1 }, hooks);
    expect(feeds(log)).toEqual(['a feed "<a q >" "" for logits', 'a feed "it is 4! \\\\boxed{" for logits']);
    expect(result).toMatchObject({
      answer: "it is 4! \\boxed{4}",
      decodedTokens: 9,
      stopReason: "stop-token",
    });
    expect(result.answerTokenIds).toEqual(codes(result.answer));
    const shown = events.reduce(
      (text, event) =>
        event.kind === "token" ? text.slice(0, text.length - (event.replaces ?? 0)) + event.text : text,
      "",
    );
    expect(shown).toBe(result.answer);
    // The prompt and seven tokens; then sixteen tokens of the text, and two more.
    expect(result.turns[0]?.forwardPositions).toBe("<a q >".length + 7 + "it is 4! \\boxed{".length + 2);
  });

  test("an answer with a box is complete", async () => {
    const boxed = solo({}, { decoding: { answer_retry: retry, max_new_tokens: 20 } });
    const stage = fakeStage(boxed, new Log(), { decodes: [codes("\\boxed{4}")] });
    expect((await runSystem(stage, { question: "q", rounds: 1 })).decodedTokens).toBe(9);
  });

  test("a call to a tool beyond the limit gives an error and ends the answer", async () => {
    const call = "<calculator>1+1</calculator>";
    const limited = solo(
      { tools: ["calculator"], context_window_size: 500 },
      { decoding: { max_tool_calls: 1, max_new_tokens: 100 } },
    );
    const options = { decodes: [codes(call), codes(`${call} and more`)] };
    const result = await runSystem(fakeStage(limited, new Log(), options), { question: "q", rounds: 1 });
    expect(result.answer).toBe(
      `${call} <result> 2 </result>${call} <result> error: no more than 1 calls </result>`,
    );
    expect(result.stopReason).toBe("max-tool-calls");
  });
});

describe("other graphs", () => {
  test("a mixture: experts in parallel into a summarizer, which feeds back to each", async () => {
    const log = new Log();
    const mixture = system({
      agents: [
        agentJson("a", 8, ["c->a"]),
        agentJson("b", 12, ["c->b"]),
        agentJson("c", 16, ["a->c", "b->c"]),
      ],
      edges: [
        { id: "a->c", from: "a", to: "c" },
        { id: "b->c", from: "b", to: "c" },
        { id: "c->a", from: "c", to: "a", feedback: true },
        { id: "c->b", from: "c", to: "b", feedback: true },
      ],
    });
    await runSystem(fakeStage(mixture, log, fresh()), { question: "q", latentSteps: 1 });
    expect(feeds(log)).toEqual([
      'a feed "<a q " ">" for hidden',
      'b feed "<b q " ">" for hidden',
      'c feed "<c q " [a->c(in(a1))] [b->c(in(b1))] ">" for hidden',
      'a feed "<a q " [c->a(in(c1))] ">" for hidden',
      'b feed "<b q " [c->b(in(c1))] ">" for hidden',
      'c feed "<c q " [a->c(in(a1))] [b->c(in(b1))] ">" "=" for logits',
    ]);
    expect(log.alive).toBe(0);
  });

  test("an agent that feeds back to itself", async () => {
    const log = new Log();
    const solo = system({
      agents: [agentJson("a", 8, ["a->a"])],
      edges: [{ id: "a->a", from: "a", to: "a", feedback: true }],
    });
    await runSystem(fakeStage(solo, log, fresh()), { question: "q", rounds: 3, latentSteps: 1 });
    expect(feeds(log)).toEqual([
      'a feed "<a q " ">" for hidden',
      'a feed "<a q " [a->a(in(a1))] ">" for hidden',
      'a feed "<a q " [a->a(in(a1))] ">" "=" for logits',
    ]);
    expect(log.alive).toBe(0);
  });
});

describe("the other modes", () => {
  test("text mode fills slots with what was written, the stop token excluded and the budget kept", async () => {
    const log = new Log();
    const decodes = [[A, A, A, A], [B], [A, B]];
    const result = await runSystem(fakeStage(system(), log, { decodes }), {
      question: "q",
      mode: "text",
      rounds: 1,
      latentSteps: 2,
    });
    expect(feeds(log)).toEqual([
      'a feed "<a q " ">" for logits',
      'b feed "<b q " "AA" ">" for logits',
      'c feed "<c q " "B" ">" "=" for logits',
    ]);
    expect(result).toMatchObject({ answer: "AB", decodedTokens: 5, totalLatentSteps: 0 });
    expect(result.handoffs.map((each) => each.text)).toEqual(["AA", "B"]);
  });

  test("text mode writes thoughts before the answer when the system says so", async () => {
    const log = new Log();
    const decodes = [[A], [A], [B, B, B], [A]];
    const decoding = { thinkBeforeAnswer: true, textTokens: 2 };
    const result = await runSystem(fakeStage(system(), log, { decodes }), {
      question: "q",
      mode: "text",
      rounds: 1,
      decoding,
    });
    // The second token of the thought has not been fed yet, so it is fed with the prefix.
    expect(feeds(log).at(-1)).toBe('c feed "B=" for logits');
    expect(result).toMatchObject({ answer: "A", decodedTokens: 1 + 1 + 2 + 1 });
  });

  test("single mode asks the deciding agent alone, once, without thoughts", async () => {
    const log = new Log();
    const result = await runSystem(fakeStage(system(), log, fresh()), { question: "q", mode: "single" });
    expect(feeds(log)).toEqual(['c feed "<c q " ">" "=" for logits']);
    expect(result).toMatchObject({ answer: "AB", totalLatentSteps: 0, rounds: 1 });
  });

  test("loop mode gives it as many latent steps as all agents have in all rounds", async () => {
    const log = new Log();
    const result = await runSystem(fakeStage(system(), log, fresh()), {
      question: "q",
      mode: "loop",
      rounds: 2,
      latentSteps: 2,
    });
    expect(log.lines.filter((line) => line === "c think")).toHaveLength(2 * 2 * 3);
    expect(result).toMatchObject({ answer: "AB", totalLatentSteps: 12 });
  });
});

describe("decoding", () => {
  test("ends at the most tokens, or where the context ends", async () => {
    const many = () => ({ decodes: [Array<number>(20).fill(A)] });
    const most = await runSystem(fakeStage(system(), new Log(), many()), { question: "q", mode: "single" });
    expect(most).toMatchObject({ answer: "AAAA", stopReason: "max-new-tokens" });
    const tight = { ...many(), contextWindowSize: 8 };
    const full = await runSystem(fakeStage(system(), new Log(), tight), { question: "q", mode: "single" });
    expect(full).toMatchObject({ answer: "AA", stopReason: "context-full" });
  });

  test("ends before a stop string, and takes back what was shown of it", async () => {
    const events: RunEvent[] = [];
    const result = await runSystem(
      fakeStage(system(), new Log(), { decodes: [[A, B, A, A, B]] }),
      { question: "q", mode: "single", decoding: { stopStrings: ["BAB", "BAA"], maxNewTokens: 9 } },
      { onEvent: (event) => events.push(event) },
    );
    expect(result).toMatchObject({ answer: "A", stopReason: "stop-string", decodedTokens: 4 });
    const shown = events.reduce(
      (text, event) =>
        event.kind === "token" ? text.slice(0, text.length - (event.replaces ?? 0)) + event.text : text,
      "",
    );
    expect(shown).toBe("A");
    const bad = { question: "q", decoding: { stopStrings: [""] } };
    expect(await failure(() => runSystem(fakeStage(system(), new Log(), fresh()), bad))).toMatch(
      says("bad-option", "stopStrings must be a list of texts, none of them empty"),
    );
  });
});

describe("a run that fails", () => {
  test.each([-1, 256, -2147483648, Number.NaN])("stops at the impossible token %s", async (token) => {
    const log = new Log();
    const run = (mode: "latent" | "text") =>
      runSystem(fakeStage(system(), log, { decodes: [[A, token, B]] }), { question: "q", mode });
    const ids = `picked token ${token}, its vocabulary has ids from 0 to 255`;
    expect(await failure(() => run("latent"))).toMatch(says("bad-numbers", `agent 'c' ${ids}`));
    expect(await failure(() => run("text"))).toMatch(says("bad-numbers", `agent 'a' ${ids}`));
    expect(log.alive).toBe(0);
  });

  test("stops between two steps when it is cancelled, and frees what it made", async () => {
    const log = new Log();
    const controller = new AbortController();
    let steps = 0;
    const onEvent = (event: RunEvent): void => {
      if (event.kind === "step" && ++steps === 5) controller.abort();
    };
    const run = () =>
      runSystem(fakeStage(system(), log, OPTIONS), { question: "q" }, { signal: controller.signal, onEvent });
    expect(await failure(run)).toMatch(says("cancelled", ""));
    expect(steps).toBe(5);
    expect(log.alive).toBe(0);
  });

  test("frees what it made when an agent fails", async () => {
    const log = new Log();
    const stage = fakeStage(system(), log, fresh());
    const b = stage.agents.get("b");
    if (b) b.sync = () => Promise.reject(new Error("boom"));
    await expect(runSystem(stage, { question: "q" })).rejects.toThrow("boom");
    expect(log.alive).toBe(0);
  });

  const cases: readonly [string, Parameters<typeof runSystem>[1], Parameters<typeof says>][] = [
    [
      "no rounds",
      { question: "q", rounds: 0 },
      ["bad-option", "rounds must be a whole number from 1 to 64, got 0"],
    ],
    ["half a step", { question: "q", latentSteps: 1.5 }, ["bad-option", "latentSteps must be"]],
    [
      "a strange temperature",
      { question: "q", decoding: { temperature: Number.NaN } },
      ["bad-option", "temperature"],
    ],
    ["top_p of 0", { question: "q", decoding: { topP: 0 } }, ["bad-option", "topP"]],
    ["an unknown edge", { question: "q", edges: ["a->z"] }, ["bad-option", "unknown edge 'a->z'"]],
    ["an unknown edge to replace", { question: "q", replace: { "a->z": "zeros" } }, ["bad-option", "'a->z'"]],
    [
      "a replacement of the wrong size",
      { question: "q", replace: { "a->b": [{ rows: 1, columns: 3, data: new Float32Array(3) }] } },
      ["bad-option", "matrices of 12 columns, got (1, 3)"],
    ],
    ["an unknown agent", { question: "q", prompts: { z: {} } }, ["bad-option", "unknown agent 'z'"]],
    [
      "a slot without an edge",
      { question: "q", prompts: { a: { prompt: "{question}{latent:a->b}" } } },
      ["bad-prompt", "slot {latent:a->b} without an edge"],
    ],
  ];
  test.each(cases)("is refused before it begins: %s", async (_, options, [code, part]) => {
    const log = new Log();
    expect(await failure(() => runSystem(fakeStage(system(), log, fresh()), options))).toMatch(
      says(code, part),
    );
    expect(log.lines).toEqual([]);
  });
});
