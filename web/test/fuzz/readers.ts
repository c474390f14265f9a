/** Every reader of the page and the engine, with good files. */
import { parseLinks } from "../../src/engine/links";
import { fetchLocal } from "../../src/engine/local-files";
import { fieldsOf, planPrompts, planRun } from "../../src/engine/plan";
import { fieldNames, fillTemplate, parseTemplate } from "../../src/engine/prompt";
import { parseQuestions } from "../../src/engine/questions";
import { memoryOf, parseSystem, type System } from "../../src/engine/system";
import { linksJson, manifestJson, system } from "../engine/fixtures";
import { deviceReaders } from "./device-readers";
import { engineReaders } from "./engine-readers";
import { cases, fixture, json, textOf } from "./files";
import type { Reader } from "./fuzzing";
import { openSystem, pageReaders } from "./page-readers";

const MANIFEST_URL = "https://host.test/sub/system.json";

/** Reads a manifest, and plans a run of it in every mode. No file that it lists may lie outside its folder. */
function readManifest(content: Buffer): void {
  const read = parseSystem(textOf(content), MANIFEST_URL);
  const base = new URL(".", MANIFEST_URL).href;
  for (const { path } of read.files) {
    const { href } = new URL(path, MANIFEST_URL);
    if (!href.startsWith(base) || decodeURIComponent(href.slice(base.length)) !== path)
      throw new Error(`the path ${JSON.stringify(path)} leads to ${href}`);
  }
  memoryOf(read);
  openSystem(read);
  plan(read);
}

function plan(read: System): void {
  for (const mode of ["latent", "text", "single", "loop"] as const) {
    const { turns } = planRun(read, { mode });
    const names = read.agents.flatMap((agent) => fieldsOf(agent));
    const fields = Object.fromEntries(names.map((name) => [name, "x"]));
    const prompts = planPrompts(read, { question: "a>b ? a@1", fields, mode });
    for (const turn of turns) prompts(turn.agent, turn.round);
  }
}

function readTemplate(content: Buffer): void {
  const segments = parseTemplate(textOf(content));
  const values = Object.fromEntries(["question", ...fieldNames(segments)].map((name) => [name, "x"]));
  fillTemplate(segments, values, true);
}

/** A file in a folder of the visitor's is found only by the path that the manifest lists. */
async function readLocalPath(content: Buffer): Promise<void> {
  const base = new URL(".", MANIFEST_URL).href;
  const files = new Map([["a/b.bin", new Blob(["x"])]]);
  const { status } = await fetchLocal(files, MANIFEST_URL)(base + textOf(content));
  if (status === 200 && decodeURIComponent(textOf(content)) !== "a/b.bin")
    throw new Error(`${JSON.stringify(textOf(content))} is taken for a/b.bin`);
}

export function readers(): readonly Reader[] {
  const ring = system();
  const whole = manifestJson();
  const questions = { path: "q.json", size_bytes: 1, sha256: "0".repeat(64) };
  const withTask = {
    ...whole,
    task: { name: "t", questions: questions.path },
    files: [...(whole.files as object[]), questions],
  };
  const provenance = {
    links: { seed: 0, data: "generator:hop", rounds: 2, latent_steps: 3, training: { variant: "paper" } },
    checkpoints: { a: { adapter: "x" } },
    measured: {
      table: {
        data: "hop",
        seed: 1,
        cells: [
          {
            mode: "latent",
            control: "none",
            rounds: 2,
            latent_steps: 3,
            questions: 10,
            accuracy: 0.5,
            low: 0.2,
            high: 0.8,
            decoded_tokens: 1,
          },
        ],
      },
    },
  };
  const templates = cases<{ template: string }[]>("prompt_cases.json").map(({ template }) => template);
  return [
    {
      name: "manifest",
      seeds: [fixture("formats-1/system.json"), ...json(whole, { ...withTask, provenance })],
      read: readManifest,
    },
    {
      name: "links",
      seeds: json(linksJson()),
      read: (content) => parseLinks(textOf(content), ring.agents, ring.edges),
    },
    {
      name: "questions",
      seeds: json([
        { question: "q", answer: "a", choices: ["a", "b"], group: "g", fields: { facts: "x" } },
        { question: "a>b b>a ? a@1", answer: "b" },
      ]),
      read: (content) => parseQuestions(textOf(content)),
    },
    { name: "template", seeds: templates, read: readTemplate },
    { name: "local-path", seeds: ["a/b.bin", "c/system.json", "a/ü.bin"], read: readLocalPath },
    ...engineReaders(),
    ...pageReaders(),
    ...deviceReaders(),
  ];
}
