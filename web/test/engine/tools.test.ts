import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { calculate } from "../../src/engine/calculator";
import type { Fetch } from "../../src/engine/download";
import { runSystem, type Stage } from "../../src/engine/recursion";
import { findCall } from "../../src/engine/tools";
import type { RunEvent } from "../../src/engine/types";
import { fakeStage, Log } from "./fake-agent";
import { agentJson, system } from "./fixtures";

interface Cases {
  readonly calculate: readonly { readonly expression: string; readonly result: string }[];
  readonly answer: readonly {
    readonly text: string;
    readonly tools: string[];
    readonly follows: string | null;
  }[];
}

const path = new URL("../../../tests/fixtures/calculator_cases.json", import.meta.url);
const cases = JSON.parse(readFileSync(path, "utf8")) as Cases;

describe("tools, as in tests/fixtures/calculator_cases.json", () => {
  test.each(cases.calculate)("calculate($expression) is $result", ({ expression, result }) => {
    expect(calculate(expression)).toBe(result);
  });

  test.each(cases.answer)("$text is followed by $follows", ({ text, tools, follows }) => {
    const call = findCall(text, tools);
    expect(call ? ` <result> ${calculate(call.input)} </result>` : null).toBe(follows);
  });
});

describe("an agent with a calculator", () => {
  const codes = (text: string): number[] => [...text].map((char) => char.charCodeAt(0));
  const solo = system({
    agents: [{ ...agentJson("a", 8, []), tools: ["calculator"], context_window_size: 500 }],
    edges: [],
    decoding: { max_new_tokens: 100 },
  });

  test("gets the result fed into its context, uncounted, and goes on", async () => {
    const log = new Log();
    const events: RunEvent[] = [];
    const call = "<calculator>6*5</calculator>";
    const stage = fakeStage(solo, log, { decodes: [codes(call), codes("so")] });
    const result = await runSystem(
      stage,
      { question: "q", mode: "single" },
      { onEvent: (each) => events.push(each) },
    );
    expect(result.answer).toBe(`${call} <result> 30 </result>so`);
    expect(result.decodedTokens).toBe(call.length + 2);
    expect(result.answerTokenIds).toEqual(codes(result.answer));
    expect(log.lines.at(-3)).toBe('a feed "> <result> 30 </result>" for logits');
    const tokens = events.filter((event) => event.kind === "token");
    expect(tokens.map((event) => event.text).join("")).toBe(result.answer);
    expect(tokens.flatMap((event) => event.tool ?? [])).toEqual([
      { tool: "calculator", input: "6*5", output: "30", text: " <result> 30 </result>" },
    ]);
  });

  test("gets it in the answer even when no token is left", async () => {
    const call = "<calculator>1+1</calculator>";
    const stage = fakeStage(solo, new Log(), { decodes: [codes(call)] });
    const decoding = { maxNewTokens: call.length };
    const result = await runSystem(stage, { question: "q", mode: "single", decoding });
    expect(result).toMatchObject({
      answer: `${call} <result> 2 </result>`,
      stopReason: "max-new-tokens",
      decodedTokens: call.length,
    });
  });
});

describe("an agent that may search", () => {
  const codes = (text: string): number[] => [...text].map((char) => char.charCodeAt(0));
  const solo = system({
    agents: [{ ...agentJson("a", 8, []), tools: ["calculator", "search"], context_window_size: 500 }],
    edges: [],
    decoding: { max_new_tokens: 100 },
  });
  const call = "<search>lake Baikal</search>";
  const search = { url: "https://wiki.test/w/api.php" };

  function stageWith(fetch: Fetch): Stage {
    return { ...fakeStage(solo, new Log(), { decodes: [codes(call), codes("so")] }), fetch };
  }

  test("asks nobody anything while the visitor has not switched it on", async () => {
    const fetch = vi.fn<Fetch>();
    const result = await runSystem(stageWith(fetch), { question: "q", mode: "single" });
    expect(fetch).not.toHaveBeenCalled();
    expect(result.answer).toBe(call);
  });

  test("reads the first match's opening as plain text, without tags", async () => {
    const page = { title: "Lake Baikal", extract: "A rift\nlake <b>in</b> Siberia." };
    const fetch = vi.fn<Fetch>(async () => Response.json({ query: { pages: [page] } }));
    const events: RunEvent[] = [];
    const result = await runSystem(
      stageWith(fetch),
      { question: "q", mode: "single", search },
      { onEvent: (each) => events.push(each) },
    );
    const output = "Lake Baikal: A rift lake b in /b Siberia.";
    expect(result.answer).toBe(`${call} <result> ${output} </result>so`);
    const asked = new URL(fetch.mock.calls[0]?.[0] ?? "");
    expect(asked.origin + asked.pathname).toBe(search.url);
    expect(asked.searchParams.get("gsrsearch")).toBe("lake Baikal");
    expect(events.flatMap((event) => (event.kind === "token" && event.tool ? [event.tool] : []))).toEqual([
      { tool: "search", input: "lake Baikal", output, text: ` <result> ${output} </result>` },
    ]);
  });

  test.each([
    ["nothing was found", async () => Response.json({ batchcomplete: true })],
    ["nothing was found", async () => Response.json("surprise")],
    ["the search could not be reached", async () => new Response("no", { status: 503 })],
    ["the search could not be reached", () => Promise.reject(new TypeError("offline"))],
  ])("goes on with 'error: %s'", async (message, fetch: Fetch) => {
    const result = await runSystem(stageWith(fetch), { question: "q", mode: "single", search });
    expect(result.answer).toBe(`${call} <result> error: ${message} </result>so`);
  });
});
