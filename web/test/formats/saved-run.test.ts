import { describe, expect, test } from "vitest";
import type { RunEvent } from "../../src/engine/api";
import { FormatError } from "../../src/formats/errors";
import { readSavedRun, writeSavedRun } from "../../src/formats/saved-run";
import { progressAt } from "../../src/ui/model/progress";
import type { Finished } from "../../src/ui/model/recording";
import { viewOf } from "../../src/ui/model/system-view";
import { fakeBackend, fakeQuestions } from "../ui/fake-engine";

/** A finished run of the stand-in engine. */
async function record(mode: "latent" | "text"): Promise<Finished> {
  const backend = fakeBackend({ stepMs: 0, fail: null, failWhen: "run", pattern: "sequential" });
  const handle = await backend.loadSystem("made-up");
  const asked = fakeQuestions(3)[2];
  const events: { at: number; event: RunEvent }[] = [];
  const decoding = { ...handle.system.decoding };
  const options = {
    question: asked?.question ?? "",
    mode,
    rounds: 2,
    latentSteps: 3,
    decoding,
    edges: handle.system.edges.map(({ id }) => id),
    order: handle.system.agents.map(({ id }) => id),
    prompts: { critic: { prompt: "{question}" }, planner: { firstRoundPrompt: null } },
  };
  const result = await handle.run(options, {
    onEvent: (event) => events.push({ at: events.length, event }),
  });
  return {
    system: viewOf(handle.system),
    origin: { manifest: "a1".repeat(32), links: "other.json" },
    expected: asked?.answer,
    choices: undefined,
    scoring: "exact",
    options,
    events,
    result,
  };
}

function altered(text: string, change: (file: Record<string, never>) => void): string {
  const file = JSON.parse(text) as Record<string, never>;
  change(file);
  return JSON.stringify(file);
}

describe("a saved run", () => {
  test.each(["latent", "text"] as const)("comes back as it was: %s mode", async (mode) => {
    const run = await record(mode);
    const opened = readSavedRun(writeSavedRun(run));
    expect(opened).toEqual(run);
    expect(progressAt(opened.events, 1e9).answer).toBe(run.result.answer);
  });

  test("of an older page opens, and knows neither its build nor its order", async () => {
    const run = await record("latent");
    const { order: _, ...options } = run.options;
    const older = { ...run, origin: undefined, options };
    const text = altered(writeSavedRun(older), (file) => Object.assign(file, { version: 1 }));
    expect(JSON.parse(text)).not.toHaveProperty("origin");
    expect(readSavedRun(text)).toEqual(older);
  });

  test("is refused when it is no JSON, another format, or from a newer page", async () => {
    const text = writeSavedRun(await record("latent"));
    expect(() => readSavedRun("not JSON")).toThrow(FormatError);
    expect(() => readSavedRun("{}")).toThrow(/not a saved run/);
    expect(() => readSavedRun(altered(text, (file) => Object.assign(file, { version: 4 })))).toThrow(
      /newer than this page/,
    );
    expect(() => readSavedRun(altered(text, (file) => Object.assign(file, { extra: 1 })))).toThrow(
      /not a saved run/,
    );
  });

  test("is refused when a matrix is not what it says", async () => {
    const text = writeSavedRun(await record("latent"));
    const broken = text.replace(/"rows":3,"columns":96/, '"rows":4,"columns":96');
    expect(broken).not.toBe(text);
    expect(() => readSavedRun(broken)).toThrow(/rows × columns/);
  });

  test("is refused when it contradicts itself", async () => {
    const text = writeSavedRun(await record("latent"));
    const stranger = text.replace(
      '"kind":"turn-start","at":0,"round":0,"agent":"planner"',
      '"kind":"turn-start","at":0,"round":0,"agent":"stranger"',
    );
    expect(stranger).not.toBe(text);
    expect(() => readSavedRun(stranger)).toThrow(/'stranger'/);
    const order = text.replace('"order":["planner"', '"order":["stranger"');
    expect(() => readSavedRun(order)).toThrow(/its order names/);
    const cut = text.replace(/\{"kind":"turn-end","at":\d+,"index":0\},/, "");
    expect(cut).not.toBe(text);
    expect(() => readSavedRun(cut)).toThrow(/turns begin/);
  });

  test("keeps text that looks like markup as text", async () => {
    const run = await record("latent");
    const markup = '<img src=x onerror="alert(1)">';
    const opened = readSavedRun(writeSavedRun({ ...run, result: { ...run.result, answer: markup } }));
    expect(opened.result.answer).toBe(markup);
  });
});
