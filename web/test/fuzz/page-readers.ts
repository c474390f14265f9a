/** Readers of the page: the address, what the visitor types and opens, lists of systems, and how answers are scored. */
import { readSystem } from "../../src/engine/api";
import { planRun } from "../../src/engine/plan";
import type { System } from "../../src/engine/system";
import { parseFile } from "../../src/formats/format";
import { SCORINGS } from "../../src/formats/generated/names";
import { SHARED_LINKS } from "../../src/formats/generated/validators";
import { readSavedRun } from "../../src/formats/saved-run";
import { systemAddress } from "../../src/ui/lib/address";
import { parseCatalog } from "../../src/ui/model/catalog";
import { planFields } from "../../src/ui/model/fields";
import { recognise } from "../../src/ui/model/folder";
import { layOut } from "../../src/ui/model/graph-layout";
import { limitsOf, measuredWords, trainedOn } from "../../src/ui/model/honest";
import { progressAt } from "../../src/ui/model/progress";
import { linkTraining, measuredTables } from "../../src/ui/model/provenance";
import { lensesOf, verdict } from "../../src/ui/model/recording";
import { arranged, runOptions } from "../../src/ui/model/settings";
import { fileUrl, misfits, parseListing, recordUrl } from "../../src/ui/model/shared-links";
import { spacesOf } from "../../src/ui/model/spaces";
import { footsteps, legsOf } from "../../src/ui/model/trail";
import { INITIAL, isChanged, parseQuery, printAddress, printQuery } from "../../src/ui/model/url";
import { openRun } from "../../src/ui/state/open";
import { rememberIn } from "../../src/ui/state/remembered";
import { parseRing } from "../../src/ui/task/hop";
import { isRight } from "../../src/ui/task/score";
import { linksJson, system } from "../engine/fixtures";
import { cases, fixture, json, textOf } from "./files";
import type { Reader } from "./fuzzing";

/** What the page computes to show a system. */
export function openSystem(read: System): void {
  trainedOn(read);
  measuredWords(read);
  limitsOf(read);
  linkTraining(read.provenance);
  measuredTables(read.provenance);
  planFields(read, INITIAL);
  layOut(arranged(read, INITIAL), 800);
  runOptions(read, INITIAL, "a>b ? a@1");
}

/** Opens a saved run as the page does, and computes what its views show. */
function openSavedRun(content: Buffer): void {
  const text = textOf(content);
  const watch = { job: { running: { value: false } }, open: () => {} };
  openRun({ watch, session: { dismissProblem: () => {} } } as unknown as Parameters<typeof openRun>[0], text);
  const run = readSavedRun(text);
  const progress = progressAt(run.events, run.events.length);
  const { turns } = planRun(run.system, run.options);
  if (turns.length > 64 * 64) throw new Error(`${turns.length} turns would be drawn`);
  layOut(run.system, 800);
  spacesOf(run.system, run.result);
  verdict(run);
  const ring = parseRing(run.options.question);
  if (ring) legsOf(ring, footsteps(ring, progress, lensesOf(run.events)));
}

/** Reads an address, asks what it asks, and prints it again. */
function readAddress(content: Buffer): void {
  const state = parseQuery(textOf(content));
  if (JSON.stringify(parseQuery(printQuery(state))) !== JSON.stringify(state))
    throw new Error(`the address ${printQuery(state)} says something else than ${textOf(content)}`);
  const { query } = printAddress(state);
  if (query.length > 4000) throw new Error(`the address has ${query.length} characters`);
  isChanged(state);
  const ring = system();
  runOptions(ring, state, state.question ?? "");
  arranged(ring, state);
  planFields(ring, state);
}

/** Opens what the visitor typed as the address of a system; the server has nothing. */
async function readTyped(content: Buffer): Promise<void> {
  const stand = {
    fetch: async () => new Response(null, { status: 404 }),
    location: { href: "https://host.test/" },
    self: { location: { href: "https://host.test/" } },
  };
  for (const [name, value] of Object.entries(stand))
    Object.defineProperty(globalThis, name, { value, configurable: true });
  await readSystem(systemAddress(textOf(content)));
}

/** A page that has remembered something else than it wrote. */
function readRemembered(content: Buffer): void {
  let held: string | null = textOf(content);
  const storage = {
    getItem: () => held,
    setItem: (_: string, value: string) => {
      held = value;
    },
    removeItem: () => {
      held = null;
    },
  } as unknown as Storage;
  const remembered = rememberIn(() => storage);
  remembered.add("https://host.test/system.json");
  if (!remembered.has("https://host.test/system.json")) throw new Error("what was added is not remembered");
}

function score(content: Buffer): void {
  const [answer = "", right = "", ...choices] = textOf(content).split("|");
  for (const { name } of SCORINGS) isRight(answer, { answer: right, choices }, name);
}

export function pageReaders(): readonly Reader[] {
  const scored = cases<{ answer: string; right: string }[]>("scoring_cases.json");
  const address =
    "system=hop-sequential&view=inside&n=3&q=a%3Eb&field.facts=x&mode=text&rounds=2&steps=4&max=8&t=0.5&off=a-%3Eb&order=c&order=a&role.a=x&prompt.b=%7Bquestion%7D&first.a=y&single.c=z";
  return [
    {
      name: "saved-run",
      seeds: [1, 2, 3, 4, 5].flatMap((version) => {
        const file = cases<{ options: object }>(`saved-runs/version-${version}.json`);
        return json(file, { ...file, options: { ...file.options, replace: undefined } });
      }),
      read: openSavedRun,
      short: 250,
    },
    {
      name: "systems-index",
      seeds: [fixture("formats-1/index.json")],
      read: (content) => {
        for (const { url } of parseCatalog(textOf(content), "https://host.test/systems/index.json"))
          if (!url.startsWith("https://host.test/systems/"))
            throw new Error(`a path of the list leads to ${url}`);
      },
    },
    {
      name: "shared-links",
      seeds: [fixture("formats-1/shared-links.json")],
      read: (content) => {
        const record = parseFile(textOf(content), "shared-links.json", SHARED_LINKS);
        misfits(record, system());
        const url = fileUrl({ id: "owner/name", revision: "a".repeat(40) }, record.links.path);
        if (!new URL(url).href.startsWith(`https://huggingface.co/owner/name/resolve/${"a".repeat(40)}/`))
          throw new Error(`the path ${JSON.stringify(record.links.path)} leads to ${url}`);
      },
    },
    {
      name: "hub-listing",
      seeds: json([{ id: "owner/name", sha: "a".repeat(40), tags: ["x"] }, { id: "b/c" }]),
      read: (content) => {
        for (const each of parseListing(textOf(content)))
          if (!new URL(recordUrl(each)).href.startsWith("https://huggingface.co/"))
            throw new Error(`the repository ${each.id} leads elsewhere`);
      },
    },
    { name: "address", seeds: [address, "", "q=&fields="], read: readAddress },
    {
      name: "typed-address",
      seeds: ["https://host.test/x/system.json", "owner/name", "hop", "../x", "https://huggingface.co/a/b/"],
      read: readTyped,
    },
    {
      name: "opened-file",
      seeds: json(linksJson(), { format: "recursivemas.trace" }),
      read: (content) => recognise(new Map([["x.json", new Blob([new Uint8Array(content)])]])),
    },
    { name: "remembered", seeds: json(["https://host.test/a/system.json"]), read: readRemembered },
    { name: "score", seeds: scored.map(({ answer, right }) => `${answer}|${right}|a|b`), read: score },
    {
      name: "ring-question",
      seeds: ["a>b b~c c-a ? b@7", "a>b b>a ? a b from a@5 b@5"],
      read: (content) => parseRing(textOf(content)),
    },
  ];
}
