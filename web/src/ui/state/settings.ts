/** From the page's state to what the engine is asked. */
import type { Decoding, Mode, PromptOverride, RunOptions, System } from "../../engine/api";
import type { PageState } from "./url";

/** What a run will use, the system's own values where the page has none. */
export interface Effective {
  readonly mode: Mode;
  readonly rounds: number;
  readonly latentSteps: number;
  readonly decoding: Decoding;
  /** Ids of the edges that carry something. */
  readonly edges: readonly string[];
}

export function effective(system: System, state: PageState): Effective {
  const own = system.decoding;
  return {
    mode: state.mode,
    rounds: state.rounds ?? system.rounds,
    latentSteps: state.latentSteps ?? system.latentSteps,
    decoding: {
      maxNewTokens: state.maxNewTokens ?? own.maxNewTokens,
      temperature: state.temperature ?? own.temperature,
      topP: state.topP ?? own.topP,
      seed: state.seed ?? own.seed,
      thinkBeforeAnswer: state.thinkBeforeAnswer ?? own.thinkBeforeAnswer,
      answerPrefix: state.answerPrefix ?? own.answerPrefix,
      textTokens: state.textTokens ?? own.textTokens,
    },
    edges: system.edges.map((edge) => edge.id).filter((id) => !state.off.includes(id)),
  };
}

/** @returns the options of a run, complete, so that a saved trace says exactly what was asked. */
export function runOptions(system: System, state: PageState, question: string): RunOptions {
  const { mode, rounds, latentSteps, decoding, edges } = effective(system, state);
  const prompts = promptOverrides(system, state);
  return {
    question,
    mode,
    rounds,
    latentSteps,
    decoding,
    edges,
    ...(Object.keys(prompts).length > 0 ? { prompts } : {}),
  };
}

function promptOverrides(system: System, state: PageState): Record<string, PromptOverride> {
  const out: Record<string, PromptOverride> = {};
  for (const { id } of system.agents) {
    const prompt = state.prompts[id];
    const firstRoundPrompt = state.firstPrompts[id];
    if (prompt === undefined && firstRoundPrompt === undefined) continue;
    out[id] = {
      ...(prompt === undefined ? {} : { prompt }),
      ...(firstRoundPrompt === undefined ? {} : { firstRoundPrompt }),
    };
  }
  return out;
}
