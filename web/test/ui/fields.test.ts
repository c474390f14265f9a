/** Facts beside the question, free questions, and how long they take. */
import { beforeAll, describe, expect, test, vi } from "vitest";
import { planRun, type System } from "../../src/engine/api";
import { aboutTime, estimateRun } from "../../src/ui/model/estimate";
import {
  askInstead,
  chooseFields,
  fieldLabel,
  fieldsOfRecord,
  isAsked,
  planFields,
} from "../../src/ui/model/fields";
import { limitsOf, measuredWords, roughParameters, trainedOn } from "../../src/ui/model/honest";
import { runOptions } from "../../src/ui/model/settings";
import { viewOf } from "../../src/ui/model/system-view";
import { INITIAL, parseQuery, printQuery } from "../../src/ui/model/url";
import { firstLarge, firstSmall, hasWords } from "../../src/ui/model/words";
import { Chat } from "../../src/ui/state/chat";
import { Session } from "../../src/ui/state/session";
import { factQuestions, fakeBackend } from "./fake-engine";
import { factSystem, fakeSystem } from "./fake-system";

const system = factSystem();
const plan = planFields(system, INITIAL);
const [record] = factQuestions(1);

describe("columns of a question", () => {
  test.each(["constructor", "toString", "__proto__"])(
    "may be called %s, and are texts all the same",
    (name) => {
      const odd = { ...INITIAL, prompts: { [system.agents[0]?.id ?? ""]: `{question} {${name}}` } };
      const own = planFields(system, odd);
      expect(Object.entries(chooseFields(own, {}, {}))).toContainEqual([name, ""]);
      const edited = parseQuery(`?field.${name}=mine`).fields;
      expect(Object.entries(chooseFields(own, {}, edited))).toContainEqual([name, "mine"]);
    },
  );

  test("belong to the only agent that reads them, or to all", () => {
    expect(plan).toEqual({
      shared: [],
      own: [
        { agent: "reader", names: ["reader_facts"] },
        { agent: "solver", names: ["solver_facts"] },
      ],
    });
    const prompts = { reader: "{solver_facts} {if kind}x{end} {latent:solver->reader}" };
    const changed = planFields(system, { ...INITIAL, prompts });
    expect(changed).toEqual({ shared: ["solver_facts"], own: [{ agent: "reader", names: ["kind"] }] });
    expect(planFields(fakeSystem(), INITIAL)).toEqual({ shared: [], own: [] });
  });

  test("come from the visitor, else from the record, else are empty", () => {
    const fields = fieldsOfRecord(record);
    expect(chooseFields(plan, fields, { reader_facts: "mine" })).toEqual({
      reader_facts: "mine",
      solver_facts: record?.fields.solver_facts,
    });
    expect(chooseFields(plan, {}, {})).toEqual({ reader_facts: "", solver_facts: "" });
  });

  test("include the choices, a line each, and the group", () => {
    const asked = { question: "q", answer: "b", choices: ["a", "b"], group: "2", fields: {} };
    expect(fieldsOfRecord(asked)).toEqual({ choices: "A. a\nB. b", group: "2" });
  });

  test("of another question take the place of a run's own", () => {
    const [one, other] = factQuestions(2);
    if (!one || !other) throw new Error("there are two");
    const options = { ...askInstead(one, { fields: { reader_facts: "" } }) };
    expect(options).toEqual({ question: one.question, fields: { reader_facts: one.fields.reader_facts } });
    expect(isAsked(one, options)).toBe(true);
    expect(isAsked(other, options)).toBe(false);
    expect(askInstead(other, {})).toEqual({ question: other.question });
  });

  test("are kept in the address and named without the agent", () => {
    const state = { ...INITIAL, fields: { reader_facts: "a & b" } };
    expect(parseQuery(`?${printQuery(state)}`)).toEqual(state);
    expect(fieldLabel("reader_facts", "reader")).toBe("facts");
    expect(fieldLabel("map_key")).toBe("map key");
  });
});

describe("a run's time", () => {
  const options = runOptions(system, INITIAL, "q", false, { reader_facts: "", solver_facts: "" });

  test("is the sum of prompts, thoughts and the answer, once the pace is known", () => {
    const paces = { reader: 1000, solver: 1000 };
    expect(estimateRun(system, options, {})).toBeUndefined();
    const steps = planRun(system, options).turns.reduce((sum, turn) => sum + turn.latentSteps, 0);
    const time = estimateRun(system, options, paces) ?? 0;
    expect(time).toBeGreaterThan((steps + 12) * 1000);
    expect(time).toBeLessThan(1.3 * (steps + 12) * 1000);
  });

  test("is said in round numbers, and not at all if it is short", () => {
    expect([1_000, 7_000, 42_000, 61_000, 400_000, 9e6].map(aboutTime)).toEqual([
      undefined,
      "5 seconds",
      "40 seconds",
      "1 minute",
      "7 minutes",
      "3 hours",
    ]);
  });
});

describe("what the page says of a system", () => {
  test("names the task, what was measured and the size of its agents", () => {
    expect(trainedOn(system)).toContain("trained on one task, split: “Each agent knows");
    expect(measuredWords(system)).toMatch(
      /On 600 held-out questions .* 91.% right, and the solver alone 4.%\./,
    );
    const checkpoints = {
      reader: { model: "smollm2", adapter: { sha256: "0" } },
      solver: { model: "smollm2" },
    };
    const adapted = { ...system, provenance: { ...system.provenance, checkpoints } };
    expect(trainedOn(adapted)).toContain("a small adapter taught");
    expect(trainedOn(system)).not.toContain("adapter");
    expect(limitsOf(system)).toContain("about 130 million parameters");
    expect(limitsOf(fakeSystem())).toContain("know this one puzzle");
    expect(hasWords(system)).toBe(true);
  });

  test.each([
    ["q4f16_1", 75_715_200],
    ["q4f32_1", 84_190_464],
    ["q0f16", 269_030_016],
    ["q0f32", 538_060_032],
  ] as const)(
    "counts the 134.5 million parameters of SmolLM2-135M in weights of %s",
    (quantization, sizeBytes) => {
      const file = (path: string): System["files"][number] => ({ path, sizeBytes, sha256: "" });
      const files = [
        file("agents/a/params_shard_0.bin"),
        file("agents/ab/params_shard_0.bin"),
        file("agents/a/x.wasm"),
      ];
      const million = roughParameters({ path: "agents/a/", quantization }, files) / 1e6;
      expect(million).toBeCloseTo(134.6, 0);
    },
  );

  test("offers the other kind of system", async () => {
    const backend = fakeBackend({ stepMs: 0, fail: null, failWhen: "run", pattern: "sequential" });
    const catalog = await backend.readCatalog();
    expect(firstLarge(catalog)?.name).toBe("split-facts");
    expect(firstLarge(catalog, "split-facts")).toBeUndefined();
    expect(firstSmall(catalog, "hop-sequential")?.name).toBe("hop-mixture");
  });
});

describe("a free question", () => {
  beforeAll(() => {
    vi.stubGlobal("requestAnimationFrame", (draw: () => void) => setTimeout(draw, 0));
    vi.stubGlobal("cancelAnimationFrame", clearTimeout);
    vi.stubGlobal("document", { baseURI: "https://page.invalid/", visibilityState: "visible" });
  });

  test("is answered by the system and by the deciding agent alone, and the thoughts stay readable", async () => {
    const backend = fakeBackend({ stepMs: 0, fail: null, failWhen: "run", pattern: "sequential" });
    const session = new Session(backend, { has: () => false, add: () => {}, clear: () => {} });
    await session.open("split-facts");
    await session.load();
    expect(Object.keys(session.paces.value)).toEqual(["reader", "solver"]);
    const chat = new Chat(session);
    const options = runOptions(system, INITIAL, "Why?", false, { reader_facts: "x", solver_facts: "" });
    const asked = {
      system: viewOf(system),
      origin: undefined,
      expected: undefined,
      choices: undefined,
      scoring: "exact" as const,
      options,
    };
    const seen: number[] = [];
    const stop = chat.exchanges.subscribe(([exchange]) => {
      const turn = exchange?.voices.latent.progress.turns.at(-1);
      if (turn && !turn.done) seen.push(turn.lens.length);
    });
    await chat.ask(asked);
    stop();
    expect(new Set(seen).size, "words appear while an agent thinks").toBeGreaterThan(3);
    await chat.ask({ ...asked, options: { ...options, question: "And?" } });
    expect(chat.exchanges.value.map((each) => [each.number, each.asked.options.question])).toEqual([
      [2, "And?"],
      [1, "Why?"],
    ]);
    const [last] = chat.exchanges.value;
    expect(last?.voices.latent.recording?.options).toMatchObject({
      mode: "latent",
      fields: { reader_facts: "x" },
    });
    expect(last?.voices.latent.recording?.options).not.toHaveProperty("lensEachStep");
    expect(last?.voices.single.recording?.options.mode).toBe("single");
    expect(last?.voices.latent.recording?.result?.turns.every(({ lens }) => lens !== undefined)).toBe(true);
    expect(last?.voices.single.state).toBe("done");
  });
});
