/** What a manifest lets the page say about the limits of a system, in plain sentences. Pure. */
import type { AgentSpec, System } from "../../engine/api";
import { QUANTIZATIONS } from "../../formats/generated/names";
import { formatPercent } from "../lib/format";
import { hasAdapters, linkData, type MeasuredRow, measuredTables } from "./provenance";
import { hasWords } from "./words";

/** About how many parameters an agent has, from the size of its weights: packed ones share a scale in groups of 32. */
export function roughParameters(
  { path, quantization }: Pick<AgentSpec, "path" | "quantization">,
  files: System["files"],
): number {
  const stored = QUANTIZATIONS.find(({ name }) => name === quantization);
  const bits = stored?.dtype === "float16" ? 16 : 32;
  const shards = files.filter((file) => file.path.startsWith(path) && file.path.endsWith(".bin"));
  const bytes = shards.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return (8 * bytes) / (stored?.grouped ? 4 + bits / 32 : bits);
}

/** 134.6e6 → `130 million`; 1.54e9 → `1.5 billion`. */
export function roughly(count: number): string {
  const round = (value: number): string => String(Number(value.toPrecision(2)));
  if (count < 0.995e9) return `${round(count / 1e6)} million`;
  return `${round(count / 1e9)} billion`;
}

/** What the links were trained on; nothing if the manifest does not say. */
export function trainedOn({ provenance, task }: System): string {
  const data = linkData(provenance);
  if (!data) return "The manifest does not say what the links between the agents were trained on.";
  const name = data.replace(/^generator:/, "");
  const about = task?.description ? `: “${task.description.trim()}”` : ".";
  const adapted = hasAdapters(provenance)
    ? " Before that, a small adapter taught a language model its roles in this task."
    : "";
  return `The links between the agents were trained on one task, ${name}${about}${adapted}`;
}

/** What was measured on that task before the system was built, the system's own rounds against the agent alone. */
export function measuredWords(system: System): string | undefined {
  const rows = measuredTables(system.provenance).flatMap((table) => table.rows);
  const plain = rows.filter(({ control }) => control === "none");
  const own = plain.filter(({ mode, rounds }) => mode === "latent" && rounds === system.rounds);
  const best = own.toSorted((a, b) => b.questions - a.questions)[0];
  if (!best) return undefined;
  const alone = plain.find(({ mode, questions }) => mode === "single" && questions === best.questions);
  const percent = ({ accuracy }: MeasuredRow): string => formatPercent(accuracy);
  const decider = system.agents.at(-1)?.id ?? "last agent";
  const also = alone ? `, and the ${decider} alone ${percent(alone)}` : "";
  return `On ${best.questions} held-out questions of that task the system answers ${percent(best)} right${also}.`;
}

/** What such agents can and cannot do. */
export function limitsOf(system: System): string {
  if (!hasWords(system))
    return `The agents of ${system.name} know this one puzzle and have no words for anything else, so do not expect an answer to other questions.`;
  const largest = Math.max(...system.agents.map((agent) => roughParameters(agent, system.files)));
  const far = "Far from the task of its links, handing over thoughts may be of no use or do harm.";
  const size = `The largest agent has about ${roughly(largest)} parameters.`;
  if (largest >= 1e9) return `${size} ${far}`;
  return `${size} Language models this small write simple English, know little and are often wrong. ${far}`;
}
