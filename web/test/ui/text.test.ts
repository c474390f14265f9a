import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { EngineError, type EngineErrorCode, promptProblem } from "../../src/engine/api";
import { FormatError } from "../../src/formats/errors";
import { systemAddress } from "../../src/ui/lib/address";
import { CatalogError, parseCatalog } from "../../src/ui/model/catalog";
import { advanceLoading, NOT_LOADING } from "../../src/ui/model/file-progress";
import { linkTraining, measuredTables } from "../../src/ui/model/provenance";
import { problemOf } from "../../src/ui/state/problems";

describe("the list of systems", () => {
  const list = (path: string): string =>
    JSON.stringify({
      format: "recursivemas.systems",
      version: 1,
      systems: [{ name: "a", description: "", pattern: "sequential", path, size_bytes: 5 }],
    });

  test("gives absolute addresses below itself", () => {
    const [entry] = parseCatalog(list("a/system.json"), "https://host.test/sub/systems/index.json");
    expect(entry?.url).toBe("https://host.test/sub/systems/a/system.json");
  });

  test.each([
    "../a/system.json",
    "/a/system.json",
    "https://evil.test/system.json",
    "//evil.test/x",
    "a/../../x",
  ])("may not lead elsewhere: %s", (path) => {
    expect(() => parseCatalog(list(path), "https://host.test/systems/index.json")).toThrow(CatalogError);
  });

  test("must be what it says", () => {
    expect(() => parseCatalog("<html>", "x")).toThrow(CatalogError);
    expect(() => parseCatalog('{"format":"recursivemas.systems","version":2,"systems":[]}', "x")).toThrow(
      CatalogError,
    );
  });
});

describe("problems", () => {
  const CODES: readonly EngineErrorCode[] = [
    "insecure-page",
    "no-webgpu",
    "missing-feature",
    "insufficient-limits",
    "gpu-validation",
    "out-of-memory",
    "device-lost",
    "download",
    "corrupt-file",
    "bad-manifest",
    "bad-links",
    "bad-library",
    "bad-prompt",
    "context-overflow",
    "bad-numbers",
    "bad-option",
    "busy",
    "internal",
  ];

  test.each(CODES)("%s has a title, advice and a way out", (code) => {
    const problem = problemOf(new EngineError(code, "the engine's line"));
    expect(problem).toMatchObject({ code, detail: "the engine's line" });
    expect(problem?.title.length).toBeGreaterThan(10);
    expect(problem?.advice.length).toBeGreaterThan(20);
    expect(problem?.remedies.length).toBeGreaterThan(0);
  });

  test.each([{ reason: 1 }, Object.create(null), undefined, null, 7, "", Symbol("x"), new Error("")])(
    "%o, thrown, becomes a sentence",
    (thrown) => {
      expect(problemOf(thrown)?.detail).toMatch(/^an error with|^Error$/);
    },
  );

  test("cancelling is none", () => {
    expect(problemOf(new EngineError("cancelled", "x"))).toBeUndefined();
  });

  test("what is unknown is ours", () => {
    expect(problemOf(new TypeError("x"))?.code).toBe("internal");
    expect(problemOf(new FormatError("x"))).toMatchObject({ code: "trace", fatal: false });
    expect(problemOf(new CatalogError("x"))?.code).toBe("catalog");
  });
});

describe("prompts", () => {
  test.each(["{question}", "{{not a slot}} {question}", "{latent:a->b} go", ""])(
    "'%s' is fine",
    (template) => {
      expect(promptProblem(template, ["a->b"])).toBeUndefined();
    },
  );

  test.each([
    ["{question", "unbalanced '{'"],
    ["question}", "unbalanced '}'"],
    ["{answer}", "unknown slot"],
    ["{latent:b->a}", "without an edge"],
  ])("'%s' is not", (template, words) => {
    expect(promptProblem(template, ["a->b"])).toContain(words);
  });
});

describe("loading file by file", () => {
  const report = (label: string, loadedBytes: number, cachedBytes = 0) =>
    ({ phase: "download", label, loadedBytes, cachedBytes, totalBytes: 100, fraction: 0 }) as const;

  test("gives each file the bytes that its own reports added", () => {
    const loading = [report("a", 10), report("b", 30, 20), report("a", 35, 20), report("a", 30, 20)].reduce(
      advanceLoading,
      NOT_LOADING,
    );
    expect(loading.files.get("a")).toEqual({ loadedBytes: 10, cached: false });
    expect(loading.files.get("b")).toEqual({ loadedBytes: 20, cached: true });
  });
});

describe("what a manifest says of its making", () => {
  const cell = {
    mode: "latent",
    control: "zeros",
    rounds: 3,
    latent_steps: 2,
    temperature: 0,
    questions: 900,
    right: 45,
    accuracy: 0.05,
    low: 0.04,
    high: 0.07,
    decoded_tokens: 1,
  };

  test("gives measured tables; what has another form is left out", () => {
    const measured = { eval: { data: "test.jsonl", seed: 0, cells: [cell] }, odd: 7, none: { cells: [] } };
    expect(measuredTables({ measured })).toEqual([
      {
        name: "eval",
        data: "test.jsonl",
        seed: 0,
        rows: [
          {
            mode: "latent",
            control: "zeros",
            rounds: 3,
            latentSteps: 2,
            questions: 900,
            accuracy: 0.05,
            low: 0.04,
            high: 0.07,
            decodedTokens: 1,
          },
        ],
      },
    ]);
    expect(measuredTables({})).toEqual([]);
    expect(measuredTables({ measured: "yes" })).toEqual([]);
  });

  test("says how the links were trained, as far as it is known", () => {
    const links = {
      seed: 0,
      data: "generator:hop",
      rounds: 3,
      latent_steps: 2,
      training: { variant: "ln_res" },
    };
    expect(linkTraining({ links })).toBe(
      "form “ln_res”, on generator:hop, for 3 rounds of 2 latent steps, seed 0",
    );
    expect(linkTraining({ links: {} })).toBeUndefined();
    expect(linkTraining({ links: { seed: "x" } })).toBeUndefined();
  });
});

describe("addresses of systems", () => {
  test.each([
    ["owner/some-system", "https://huggingface.co/owner/some-system/resolve/main/system.json"],
    [" https://host.test/a/system.json ", "https://host.test/a/system.json"],
    ["https://host.test/a/system.json?v=2", "https://host.test/a/system.json?v=2"],
    ["https://host.test/a/", "https://host.test/a/system.json"],
    ["systems/hop/system.json", "systems/hop/system.json"],
    ["dist/system.json", "dist/system.json"],
  ])("%s", (typed, url) => expect(systemAddress(typed)).toBe(url));
});

test("a page without its script shows a sentence, which the script removes", () => {
  const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");
  expect(read("../../index.html")).toMatch(/<p id="starting">[^<]*script is missing/);
  expect(read("../../src/ui/start.ts")).toContain('getElementById("starting")?.remove()');
});
