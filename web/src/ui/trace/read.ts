/** A checked trace file to a recording: snake_case to camelCase, events joined with what they report. */
import type { Counters, HandoffSummary, RunEvent, RunResult, TurnSummary } from "../../engine/api";
import type { TimedEvent } from "../model/progress";
import type { Recording } from "../model/recording";
import type { TraceFile } from "./schema";

type FileResult = TraceFile["result"];

/** Events that point beyond the turns or hand-offs are dropped; `inconsistency` in file.ts then finds the gap. */
export function fromFile(file: TraceFile): Recording & { readonly result: RunResult } {
  const turns = file.result.turns.map(readTurn);
  const handoffs = file.result.handoffs.map(readHandoff);
  return {
    system: {
      name: file.system.name,
      pattern: file.system.pattern,
      agents: file.system.agents.map(({ hidden_size, ...rest }) => ({ ...rest, hiddenSize: hidden_size })),
      edges: file.system.edges,
    },
    origin: file.origin && {
      manifest: file.origin.manifest_sha256 ?? undefined,
      links: file.origin.links ?? undefined,
    },
    expected: file.expected ?? undefined,
    choices: file.choices ?? undefined,
    scoring: file.scoring,
    options: readOptions(file.options),
    events: file.events.flatMap((event) => readEvent(event, turns, handoffs)),
    result: readResult(file.result, turns, handoffs),
  };
}

function readOptions(options: TraceFile["options"]): Recording["options"] {
  const { decoding } = options;
  const prompts = options.prompts.map(
    ({ agent, prompt, first_round_prompt: first }) =>
      [
        agent,
        {
          ...(prompt === undefined ? {} : { prompt }),
          ...(first === undefined ? {} : { firstRoundPrompt: first }),
        },
      ] as const,
  );
  return {
    question: options.question,
    mode: options.mode,
    rounds: options.rounds,
    latentSteps: options.latent_steps,
    decoding: {
      maxNewTokens: decoding.max_new_tokens,
      temperature: decoding.temperature,
      topP: decoding.top_p,
      seed: decoding.seed,
      thinkBeforeAnswer: decoding.think_before_answer,
      answerPrefix: decoding.answer_prefix,
      textTokens: decoding.text_tokens,
    },
    edges: options.edges,
    ...(options.order ? { order: options.order } : {}),
    ...(prompts.length > 0 ? { prompts: Object.fromEntries(prompts) } : {}),
  };
}

function readEvent(
  event: TraceFile["events"][number],
  turns: readonly TurnSummary[],
  handoffs: readonly HandoffSummary[],
): TimedEvent[] {
  const found = joined(event, turns, handoffs);
  return found ? [{ at: event.at, event: found }] : [];
}

function joined(
  event: TraceFile["events"][number],
  turns: readonly TurnSummary[],
  handoffs: readonly HandoffSummary[],
): RunEvent | undefined {
  switch (event.kind) {
    case "turn-start": {
      const { kind, round, agent } = event;
      return { kind, round, agent, promptTokens: event.prompt_tokens, latentRows: event.latent_rows };
    }
    case "step": {
      const { at: _, ...rest } = event;
      return rest;
    }
    case "token": {
      const { at: _, token_id: tokenId, ...rest } = event;
      return { ...rest, tokenId };
    }
    case "handoff": {
      const handoff = handoffs[event.index];
      return handoff && { kind: "handoff", ...handoff };
    }
    case "turn-end": {
      const turn = turns[event.index];
      return turn && { kind: "turn-end", ...turn };
    }
  }
}

function readTurn(turn: FileResult["turns"][number]): TurnSummary {
  return {
    round: turn.round,
    agent: turn.agent,
    promptTokens: turn.prompt_tokens,
    latentSteps: turn.latent_steps,
    decodedTokens: turn.decoded_tokens,
    text: turn.text,
    ms: turn.ms,
    counters: readCounters(turn.counters),
    ...(turn.thoughts ? { thoughts: turn.thoughts } : {}),
    ...(turn.lens
      ? {
          lens: turn.lens.map((each) => each.map(({ token_id: tokenId, ...rest }) => ({ ...rest, tokenId }))),
        }
      : {}),
  };
}

function readHandoff({ text, states, ...rest }: FileResult["handoffs"][number]): HandoffSummary {
  return { ...rest, ...(text === undefined ? {} : { text }), ...(states ? { states } : {}) };
}

function readCounters(counters: FileResult["counters"]): Counters {
  return {
    syncs: counters.syncs,
    readbackBytes: counters.readback_bytes,
    dispatches: counters.dispatches,
    submits: counters.submits,
    uploadBytes: counters.upload_bytes,
    liveBytes: counters.live_bytes,
    peakBytes: counters.peak_bytes,
  };
}

function readResult(
  result: FileResult,
  turns: readonly TurnSummary[],
  handoffs: readonly HandoffSummary[],
): RunResult {
  return {
    answer: result.answer,
    stopReason: result.stop_reason,
    mode: result.mode,
    rounds: result.rounds,
    latentSteps: result.latent_steps,
    decodedTokens: result.decoded_tokens,
    answerTokenIds: result.answer_token_ids,
    totalLatentSteps: result.total_latent_steps,
    ms: result.ms,
    turns,
    handoffs,
    counters: readCounters(result.counters),
  };
}
