/** Links that people share on the Hugging Face Hub: which repositories have some, and whether they fit. */
import * as v from "valibot";
import { EngineError, type System } from "../../engine/api";
import { FILES } from "../../formats/generated/names";
import type { FileRole, HubTag, SharedAgent, SharedLinks } from "../../formats/generated/types";
import { formatBytes } from "../lib/format";
import { LARGEST_TEXT_BYTES } from "./folder";

const HUB = "https://huggingface.co";
const TAG = "recursivemas-links" satisfies HubTag;
const ROLE = "shared_links" satisfies FileRole;
/** More repositories than this are not read at once. */
export const MOST_LISTED = 50;

/** The list of repositories with shared links, the newest first. */
export const LISTING_URL = `${HUB}/api/models?${new URLSearchParams([
  ["filter", TAG],
  ["sort", "lastModified"],
  ["direction", "-1"],
  ["limit", String(MOST_LISTED)],
  ["expand", "sha"],
])}`;

/** A repository, at the commit that it was at when it was listed. */
export interface Repository {
  /** `owner/name`. */
  readonly id: string;
  /** The commit. */
  readonly revision: string;
}

const listed = v.object({
  id: v.pipe(v.string(), v.regex(/^[A-Za-z0-9][\w.-]*\/[\w.-]+$/), v.maxLength(200)),
  sha: v.pipe(v.string(), v.regex(/^[0-9a-f]{40}$/)),
});

/**
 * @param text - the Hub's answer. Entries of another form are left out.
 * @throws EngineError `download` if it is no list at all.
 */
export function parseListing(text: string): Repository[] {
  let entries: unknown;
  try {
    entries = JSON.parse(text);
  } catch {
    // What is no JSON is no list either.
  }
  if (!Array.isArray(entries))
    throw new EngineError("download", "the Hub’s answer is not a list of repositories; try again later");
  return entries.slice(0, MOST_LISTED).flatMap((entry) => {
    const { success, output } = v.safeParse(listed, entry);
    return success ? [{ id: output.id, revision: output.sha }] : [];
  });
}

/** Where a file of a repository is, at its commit. */
export function fileUrl({ id, revision }: Repository, path: string): string {
  return `${HUB}/${id}/resolve/${revision}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/** Where the record of a repository is. */
export function recordUrl(repository: Repository): string {
  return fileUrl(repository, FILES.find(({ name }) => name === ROLE)?.file ?? "");
}

/** Where people can look at a repository. */
export function repositoryPage({ id, revision }: Repository): string {
  return `${HUB}/${id}/tree/${revision}`;
}

/** What a manifest may say about the weights of its agents, by agent id. */
const checkpoints = v.record(
  v.string(),
  v.object({
    weights_sha256: v.optional(v.string()),
    adapter: v.optional(v.object({ sha256: v.string() })),
  }),
);

/** @returns why shared links do not fit a system, in sentences; empty if they fit, as far as the manifest says. */
export function misfits(record: SharedLinks, system: System): string[] {
  const here = system.agents.map(({ id }) => id);
  const there = record.agents.map(({ id }) => id);
  if (!sameNames(here, there))
    return [`They connect the agents ${list(there)}. This system has ${list(here)}.`];
  const known = v.safeParse(checkpoints, system.provenance.checkpoints);
  const agents = record.agents.flatMap((agent) => {
    const own = system.agents.find(({ id }) => id === agent.id);
    if (own && own.hiddenSize !== agent.hiddenSize)
      return [
        `They need the hidden size ${agent.hiddenSize} of the ${agent.id}, which has ${own.hiddenSize} here.`,
      ];
    const weights = known.success ? otherWeights(agent, known.output[agent.id]) : undefined;
    return weights ? [weights] : [];
  });
  const large =
    record.links.sizeBytes > LARGEST_TEXT_BYTES
      ? [`The file has ${formatBytes(record.links.sizeBytes)}, which is more than a browser can read.`]
      : [];
  return [...agents, ...otherEdges(record, system), ...large];
}

/** Whether the manifest says which weights its agents have, so that `misfits` could compare them. */
export function knowsWeights(system: System): boolean {
  const known = v.safeParse(checkpoints, system.provenance.checkpoints);
  return known.success && system.agents.every(({ id }) => known.output[id]?.weights_sha256);
}

function otherWeights(
  agent: SharedAgent,
  own: v.InferOutput<typeof checkpoints>[string] | undefined,
): string | undefined {
  if (!own?.weights_sha256) return undefined;
  if (own.weights_sha256 !== agent.weightsSha256)
    return `They were made for another checkpoint of the ${agent.id} (${agent.model}).`;
  if (own.adapter?.sha256 === agent.adapter?.sha256) return undefined;
  return agent.adapter
    ? `They were made for the ${agent.id} with the adapter ${agent.adapter.name}.`
    : `They were made for the ${agent.id} without an adapter.`;
}

function otherEdges(record: SharedLinks, system: System): string[] {
  const of = ({ edges }: Pick<SharedLinks, "edges">): Map<string, string> =>
    new Map(edges.map(({ id, from, to }) => [id, `${from} to ${to}`]));
  const [here, there] = [of(system), of(record)];
  const missing = [...here].find(([id, ends]) => there.get(id) !== ends);
  const extra = [...there].find(([id]) => !here.has(id));
  if (missing) return [`They have no link from ${missing[1]}.`];
  return extra ? [`They have a link from ${extra[1]}, which this system lacks.`] : [];
}

function sameNames(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((name) => other.includes(name));
}

function list(names: readonly string[]): string {
  return new Intl.ListFormat("en").format(names);
}
