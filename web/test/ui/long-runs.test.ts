// @vitest-environment happy-dom
/** Where runs are long, the page says how long before one begins. */
import { describe, expect, test } from "vitest";
import { MODES } from "../../src/formats/generated/names";
import { aboutTime, estimateRun } from "../../src/ui/model/estimate";
import { runOptions } from "../../src/ui/model/settings";
import { INITIAL } from "../../src/ui/model/url";
import { factQuestions } from "./fake-engine";
import { factSystem } from "./fake-system";
import { Visitor } from "./visitor";

const PACE_MS = 4000;
const LARGE = "?system=split-facts";
const SMALL = "?system=hop-sequential";
const fake = { paceMs: PACE_MS };

/** What the page must say of runs of the first question in these modes. */
function words(modes: readonly (typeof MODES)[number]["name"][]): string {
  const system = factSystem();
  const [record] = factQuestions(1);
  const paces = Object.fromEntries(system.agents.map(({ id }) => [id, PACE_MS]));
  const total = modes.reduce((sum, mode) => {
    const options = runOptions(system, { ...INITIAL, mode }, record?.question ?? "", false, record?.fields);
    return sum + (estimateRun(system, options, paces) ?? Number.NaN);
  }, 0);
  return `This will take about ${aboutTime(total)} on this machine.`;
}

describe("How it works", () => {
  test("loads language models and waits, and says once how long a run takes", async () => {
    const visitor = new Visitor(`${LARGE}&view=explain`, { fake });
    await visitor.click("Load the agents", ".chapter-tools");
    await visitor.sees(() => expect(visitor.text(".main-button .estimate")).toContain(words(["latent"])));
    expect(visitor.texts(".estimate")).toHaveLength(1);
    expect([visitor.loaded.length, visitor.runs]).toEqual([1, 0]);
    await visitor.click("Run it and watch", ".chapter-tools");
    await visitor.sees(() =>
      expect(visitor.texts(".chapter-tools button")).toContain("Play this part again"),
    );
    expect(visitor.runs).toBe(1);
  });

  test("says the time of a run with thoughts, which is what it runs, whatever mode is set", async () => {
    const visitor = new Visitor(`${LARGE}&view=explain&mode=single`, { fake });
    await visitor.click("Load the agents", ".main-button");
    await visitor.sees(() => expect(visitor.text(".chapter-tools .estimate")).toContain(words(["latent"])));
    expect(visitor.text(".main-button .estimate")).toContain(words(["single"]));
  });

  test("loads tiny agents and runs them with one click", async () => {
    const visitor = new Visitor(`${SMALL}&view=explain`, { fake });
    await visitor.click("Load the agents and watch a run", ".chapter-tools");
    await visitor.sees(() =>
      expect(visitor.texts(".chapter-tools button")).toContain("Play this part again"),
    );
    expect([visitor.loaded.length, visitor.runs]).toEqual([1, 1]);
    expect(visitor.text(".estimate")).toBeUndefined();
  });
});

describe("Compare", () => {
  test("says once how long all modes take together, before they begin", async () => {
    const visitor = new Visitor(`${LARGE}&view=compare`, { fake });
    await visitor.click("Load the agents", ".main-button");
    const all = words(MODES.map(({ name }) => name));
    expect(all).not.toBe(words(["latent"]));
    await visitor.sees(() => expect(visitor.text(".compare .estimate")).toContain(all));
    expect(visitor.texts(".compare .estimate")).toHaveLength(1);
    expect(visitor.runs).toBe(0);
    await visitor.click("Compare on this question", ".compare");
    await visitor.sees(() => expect(visitor.texts(".lane.done")).toHaveLength(MODES.length));
    expect(visitor.runs).toBe(MODES.length);
  });
});

describe("Look inside", () => {
  test("says how long the cuts take, which is longer with another question's thoughts", async () => {
    const visitor = new Visitor(`${LARGE}&view=inside`, { fake });
    await visitor.click("Load the agents", ".main-button");
    await visitor.click("Run", ".main-button");
    await visitor.sees(() => expect(visitor.texts(".inside button")).toContain("Cut each edge in turn"));
    const minutes = (): number =>
      Number(visitor.text(".inside .estimate")?.match(/^This will take about (\d+) minutes/)?.[1]);
    await visitor.sees(() => expect(minutes()).toBeGreaterThan(0));
    const [cuts, runs] = [minutes(), visitor.runs];
    const select = document.querySelector<HTMLSelectElement>(".inside .view-tools select");
    if (!select) throw new Error("no choice of what replaces the thoughts");
    select.value = "other";
    select.dispatchEvent(new Event("change", { bubbles: true }));
    await visitor.sees(() => expect(minutes()).toBeGreaterThan(cuts));
    expect(visitor.runs).toBe(runs);
    await visitor.click("Cut each edge in turn", ".inside");
    // Two edges, and the run of the other question.
    await visitor.sees(() => expect(visitor.runs).toBe(runs + 3));
  });
});
