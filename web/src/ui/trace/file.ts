/** A recording to a trace file and back. */
import * as v from "valibot";
import type { Counters, Matrix, RunEvent, RunResult } from "../../engine/api";
import { encodeFloats } from "../lib/base64";
import type { TimedEvent } from "../model/progress";
import type { Finished } from "../model/recording";
import { fromFile } from "./read";
import { traceSchema } from "./schema";

/** A trace file could not be opened: one line that says why. */
export class TraceError extends Error {}

/** @returns the text of a trace file; `readTrace` gives the recording back. */
export function writeTrace(recording: Finished): string {
  const { system, origin, options, result } = recording;
  const decoding = options.decoding ?? {};
  const file = {
    format: "recursivemas.trace",
    version: 2,
    system: {
      name: system.name,
      pattern: system.pattern,
      agents: system.agents.map(({ hiddenSize, ...rest }) => ({ ...rest, hidden_size: hiddenSize })),
      edges: system.edges,
    },
    origin: origin && { manifest_sha256: origin.manifest ?? null, links: origin.links ?? null },
    expected: recording.expected ?? null,
    choices: recording.choices ?? null,
    scoring: recording.scoring,
    options: {
      question: options.question,
      mode: options.mode,
      rounds: options.rounds,
      latent_steps: options.latentSteps,
      decoding: {
        max_new_tokens: decoding.maxNewTokens,
        temperature: decoding.temperature,
        top_p: decoding.topP,
        seed: decoding.seed,
        think_before_answer: decoding.thinkBeforeAnswer,
        answer_prefix: decoding.answerPrefix,
        text_tokens: decoding.textTokens,
      },
      edges: options.edges,
      order: options.order,
      prompts: Object.entries(options.prompts ?? {}).map(([agent, each]) => ({
        agent,
        prompt: each.prompt,
        first_round_prompt: each.firstRoundPrompt,
      })),
    },
    events: writeEvents(recording.events),
    result: writeResult(result),
  };
  return JSON.stringify(file);
}

function writeEvents(events: readonly TimedEvent[]): unknown[] {
  const seen = { handoff: 0, "turn-end": 0 };
  return events.map(({ at, event }) => {
    const indexed = event.kind === "handoff" || event.kind === "turn-end";
    return indexed ? { kind: event.kind, at, index: seen[event.kind]++ } : writeEvent(at, event);
  });
}

function writeEvent(at: number, event: Exclude<RunEvent, { kind: "handoff" | "turn-end" }>): unknown {
  const { kind, round, agent } = event;
  if (kind === "turn-start") {
    return { kind, at, round, agent, prompt_tokens: event.promptTokens, latent_rows: event.latentRows };
  }
  if (kind === "step") return { kind, at, round, agent, step: event.step, of: event.of, ms: event.ms };
  const { tokenId, text, answer, ms } = event;
  return { kind, at, round, agent, token_id: tokenId, text, answer, ms };
}

function writeResult(result: RunResult): unknown {
  return {
    answer: result.answer,
    stop_reason: result.stopReason,
    mode: result.mode,
    rounds: result.rounds,
    latent_steps: result.latentSteps,
    decoded_tokens: result.decodedTokens,
    answer_token_ids: result.answerTokenIds,
    total_latent_steps: result.totalLatentSteps,
    ms: result.ms,
    turns: result.turns.map((turn) => ({
      round: turn.round,
      agent: turn.agent,
      prompt_tokens: turn.promptTokens,
      latent_steps: turn.latentSteps,
      decoded_tokens: turn.decodedTokens,
      text: turn.text,
      ms: turn.ms,
      counters: writeCounters(turn.counters),
      thoughts: writeMatrix(turn.thoughts),
      lens: turn.lens?.map((each) =>
        each.map(({ tokenId, text, probability }) => ({ token_id: tokenId, text, probability })),
      ),
    })),
    handoffs: result.handoffs.map(({ states, round, edge, from, to, rows, text }) => ({
      ...{ round, edge, from, to, rows, text },
      states: writeMatrix(states),
    })),
    counters: writeCounters(result.counters),
  };
}

function writeCounters(counters: Counters): unknown {
  return {
    syncs: counters.syncs,
    readback_bytes: counters.readbackBytes,
    dispatches: counters.dispatches,
    submits: counters.submits,
    upload_bytes: counters.uploadBytes,
    live_bytes: counters.liveBytes,
    peak_bytes: counters.peakBytes,
  };
}

function writeMatrix(matrix: Matrix | undefined): unknown {
  return matrix && { rows: matrix.rows, columns: matrix.columns, data: encodeFloats(matrix.data) };
}

/**
 * @param text - content of a trace file.
 * @throws TraceError for anything that is not a whole, consistent trace.
 */
export function readTrace(text: string): Finished {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new TraceError("this file is not JSON, so it is not a saved run");
  }
  const version = typeof data === "object" && data !== null && "version" in data ? data.version : undefined;
  if (typeof version === "number" && version > 2) {
    throw new TraceError(
      `this run was saved by a newer page (version ${version}, this page reads 2); reload the page`,
    );
  }
  const parsed = v.safeParse(traceSchema, data);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const where = issue.path?.map((item) => String(item.key)).join(".") ?? "top level";
    throw new TraceError(`this file is not a saved run: ${where}: ${issue.message}`);
  }
  const recording = fromFile(parsed.output);
  const problem = inconsistency(recording);
  if (problem !== undefined) throw new TraceError(`this saved run contradicts itself: ${problem}`);
  return recording;
}

/** Names that nothing bears and counts that disagree would draw nonsense. */
function inconsistency(recording: Finished): string | undefined {
  const agents = new Set(recording.system.agents.map(({ id }) => id));
  const edges = new Set(recording.system.edges.map(({ id }) => id));
  const stranger = recording.options.order?.find((id) => !agents.has(id));
  if (stranger) return `its order names the agent '${stranger}', which the system does not have`;
  const named = recording.events.map(({ event }) => event).find((event) => !agents.has(agentOf(event)));
  if (named) return `an event names the agent '${agentOf(named)}', which the system does not have`;
  const edge = recording.system.edges.find(({ from, to }) => !agents.has(from) || !agents.has(to));
  if (edge) return `the edge '${edge.id}' joins an agent that the system does not have`;
  const handoff = recording.result.handoffs.find((each) => !edges.has(each.edge));
  if (handoff) return `a hand-off names the edge '${handoff.edge}', which the system does not have`;
  const ends = recording.events.filter(({ event }) => event.kind === "turn-end").length;
  const starts = recording.events.filter(({ event }) => event.kind === "turn-start").length;
  const turns = recording.result.turns.length;
  if (ends !== turns || starts !== turns)
    return `${starts} turns begin, ${ends} end, and ${turns} are described`;
  return undefined;
}

function agentOf(event: RunEvent): string {
  return event.kind === "handoff" ? event.from : event.agent;
}
