/** What loading the agents involves: which files, how large they are and how far it has come. */
import type { JSX } from "preact";
import { type FileSpec, memoryOf, type System } from "../../engine/api";
import { formatBytes, THIN, totalBytes } from "../lib/format";
import { heldAgents, heldFiles, heldMemory } from "../model/held";
import { printAddress } from "../model/url";
import { useStore } from "../state/store";
import { Bar } from "./controls";
import { Mark } from "./mark";

interface Group {
  readonly agent: string | undefined;
  readonly files: readonly FileSpec[];
  readonly bytes: number;
}

export function LoadPanel(): JSX.Element | null {
  const { session, page } = useStore();
  const system = session.system.value;
  const phase = session.phase.value;
  const guide = (event: MouseEvent): void => {
    event.preventDefault();
    page.set({ view: "explain" });
  };
  const held = session.agents.value;
  if (!system || phase === "ready" || phase === "opening" || held?.length === 0) return null;
  const { latest } = session.loading.value;
  const total = totalBytes(heldFiles(system, held));
  const { togetherBytes, oneByOneBytes } = memoryOf(system);
  const memory = session.oneByOne.value ? oneByOneBytes : held ? heldMemory(system, held) : togetherBytes;
  return (
    <section class="load" aria-label="Loading">
      <div class="load-head">
        <h2>{phase === "loading" ? "Loading the agents" : "Load the agents first"}</h2>
        <p aria-live="polite">
          {phase === "loading"
            ? words(latest?.phase, session.runtime.value === "processor")
            : offer(total, memory)}
        </p>
      </div>
      {phase !== "loading" && <OneByOne system={system} />}
      {phase !== "loading" && (
        <p class="load-guide">
          New here?{" "}
          <a href={`?${printAddress({ ...page.state.value, view: "explain" }).query}`} onClick={guide}>
            How it works
          </a>{" "}
          explains it in two minutes. You need not load the agents for that.
        </p>
      )}
      <Bar share={phase === "loading" ? (latest?.fraction ?? 0) : 0} label="Loading" />
      <ul class="load-groups">
        {groupFiles(system, held).map((group) => (
          <LoadGroup key={group.agent ?? ""} group={group} system={system} />
        ))}
      </ul>
    </section>
  );
}

/** What many graphics cards cannot give a page: they have 8 GB or less, and the system uses some of it. */
const USUAL_BYTES = 6e9;
/** Smaller systems fit wherever a browser runs. */
const SMALL_BYTES = 1e9;

function offer(bytes: number, memory: number): string {
  const large =
    memory > USUAL_BYTES
      ? ` Many cards have 8${THIN}GB or less, of which other programs use some, and cannot hold that.`
      : "";
  return `The page downloads ${formatBytes(bytes)} once, checks every file’s fingerprint and keeps the files in this browser. The agents need about ${formatBytes(memory)} of graphics memory.${large} Nothing you type leaves this page.`;
}

/** Offers to load the agents one after another, if that makes a difference. */
function OneByOne({ system }: { system: System }): JSX.Element | null {
  const { session } = useStore();
  const { togetherBytes, oneByOneBytes } = memoryOf(system);
  if (togetherBytes < SMALL_BYTES || oneByOneBytes >= togetherBytes) return null;
  return (
    <label class="check one-by-one">
      <input
        type="checkbox"
        checked={session.oneByOne.value}
        onChange={(event) => void session.setOneByOne(event.currentTarget.checked)}
      />
      <span>
        Load the agents one after another, each for its turns. This needs {formatBytes(oneByOneBytes)} of
        graphics memory instead of {formatBytes(togetherBytes)}, but every turn waits for its agent.
      </span>
    </label>
  );
}

function words(phase: string | undefined, onProcessor: boolean): string {
  if (onProcessor && (phase === "compile" || phase === "upload")) return "Reading the weights.";
  switch (phase) {
    case "download":
      return "Downloading the files and checking their fingerprints.";
    case "compile":
      return "Compiling the agents’ shaders for your graphics card.";
    case "upload":
      return "Copying the weights to your graphics card.";
    case "ready":
      return "Measuring how fast the agents are here, so that the page can say how long a run takes.";
    default:
      return "Reading the list of files.";
  }
}

function groupFiles(system: System, held: readonly string[] | undefined): Group[] {
  const owner = (file: FileSpec): string | undefined =>
    system.agents.find((agent) => file.path.startsWith(agent.path) || file.path === agent.modelLib)?.id;
  return [...heldAgents(system, held).map(({ id }) => id), undefined].flatMap((agent) => {
    const files = heldFiles(system, held).filter((file) => owner(file) === agent);
    return files.length === 0 ? [] : [{ agent, files, bytes: totalBytes(files) }];
  });
}

function LoadGroup({ group, system }: { group: Group; system: System }): JSX.Element {
  const { session } = useStore();
  const { files: progress, latest } = session.loading.value;
  const { agent, files, bytes } = group;
  const loaded = files.reduce((sum, file) => sum + (progress.get(file.path)?.loadedBytes ?? 0), 0);
  const past = latest !== undefined && !["manifest", "download"].includes(latest.phase);
  const share = past ? 1 : bytes === 0 ? 0 : loaded / bytes;
  const cached = files.some((file) => progress.get(file.path)?.cached);
  return (
    <li>
      <details>
        <summary>
          <span class="load-name">
            {agent === undefined ? <span class="mark" /> : <Mark system={system} agent={agent} />}
            {agent ?? "links and questions"}
          </span>
          <Bar share={share} label={agent ?? "links and questions"} />
          <span class="load-size">
            {share > 0 && share < 1 ? `${formatBytes(loaded)} of ` : ""}
            {formatBytes(bytes)}
            {cached && " · from this browser"}
          </span>
        </summary>
        <ul class="load-files">
          {files.map((file) => (
            <li key={file.path}>
              <code>{file.path}</code>
              <span>
                {past || (progress.get(file.path)?.loadedBytes ?? 0) >= file.sizeBytes ? "✓ " : ""}
                {formatBytes(file.sizeBytes)}
              </span>
            </li>
          ))}
        </ul>
      </details>
    </li>
  );
}
