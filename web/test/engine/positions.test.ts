/** Positions that a turn computes: what the fake agents are fed, what the engine reports, and what Python counts. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { runSystem } from "../../src/engine/recursion";
import type { Decoding, Mode } from "../../src/engine/types";
import { camelise } from "../../src/formats/camel";
import { type FakeAgent, fakeStage, Log } from "./fake-agent";
import { agentJson, system } from "./fixtures";

interface Case {
  readonly name: string;
  readonly mode: Mode;
  readonly rounds: number;
  readonly latent_steps: number;
  readonly decoding?: Record<string, unknown>;
  readonly tools?: readonly string[];
  /** What agents have of their own, by id. */
  readonly own?: Readonly<Record<string, Record<string, unknown>>>;
  /** The words that each decoding samples, in order; then it stops. */
  readonly decodes: readonly (readonly string[])[];
  readonly forward_positions: number;
  /** 0 if absent. */
  readonly kept_positions?: number;
  readonly answer?: string;
}

const path = new URL("../../../tests/fixtures/position_cases.json", import.meta.url);
const { question, agents, cases } = JSON.parse(readFileSync(path, "utf8")) as {
  question: string;
  agents: Record<string, string>;
  cases: Case[];
};

/** One token a word; the stop token is 0, and all words that the tokenizer does not know are 1. */
class Words {
  readonly #words: readonly string[];
  constructor(known: Iterable<string>) {
    this.#words = ["", "", ...new Set(known)];
  }
  readonly encode = (text: string): number[] => text.split(/\s+/).filter(Boolean).map(this.id);
  readonly decode = (ids: readonly number[]): string =>
    ids
      .map((id) => this.#words[id])
      .filter(Boolean)
      .join(" ");
  readonly tokenText = (id: number): string => this.#words[id] ?? "";
  readonly id = (word: string): number => Math.max(1, this.#words.indexOf(word));
}

const KNOWN = "plan solve go so = x y 6 * 5 30 <calculator> </calculator> <result> </result>".split(" ");

/** A fake agent begins another decoding whenever it is fed, so a call to a tool ends one. */
function splitAtCalls(decode: readonly string[]): (readonly string[])[] {
  const end = decode.indexOf("</calculator>") + 1;
  return end === 0 ? [decode] : [decode.slice(0, end), decode.slice(end)];
}

const options = ({ decoding = {} }: Case): Partial<Decoding> => ({
  maxNewTokens: 20,
  answerPrefix: "",
  ...(camelise(decoding) as Partial<Decoding>),
});

describe("forward positions, as in tests/fixtures/position_cases.json", () => {
  test.each(cases)("$name", async (each) => {
    const log = new Log();
    const edges = [
      { id: "a->b", from: "a", to: "b" },
      { id: "b->a", from: "b", to: "a", feedback: true },
    ];
    const records = Object.entries(agents).map(([id, template], index) => ({
      ...agentJson(id, 8 + index, []),
      prompt: { template, prefix: "", suffix: "" },
      tools: each.tools ?? [],
      ...each.own?.[id],
    }));
    const words = new Words(KNOWN);
    const decodes = each.decodes.flatMap(splitAtCalls).map((decode) => decode.map(words.id));
    const stage = fakeStage(system({ agents: records, edges }), log, { decodes, keeps: true });
    for (const agent of stage.agents.values()) Object.assign(agent, { tokenizer: words });
    const { mode, rounds, latent_steps: latentSteps } = each;
    const result = await runSystem(stage, { question, mode, rounds, latentSteps, decoding: options(each) });
    const fed = [...stage.agents.values()].reduce((sum, agent) => sum + (agent as FakeAgent).computed, 0);
    const counted = result.turns.reduce((sum, turn) => sum + (turn.forwardPositions ?? Number.NaN), 0);
    const kept = result.turns.reduce((sum, turn) => sum + (turn.keptPositions ?? 0), 0);
    expect(kept).toBe(each.kept_positions ?? 0);
    expect([counted, fed + kept]).toEqual([each.forward_positions, each.forward_positions]);
    expect(result.answer).toBe(each.answer ?? result.answer);
  });
});
