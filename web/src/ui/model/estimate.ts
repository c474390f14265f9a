/** How long a run will take, from the pace that was measured on this machine. Pure. */
import { planPrompts, planRun, type RunOptions, type System } from "../../engine/api";

/** Characters of English in a token of a language model. */
const CHARACTERS = 4;
/** What a position of a prompt costs, in tokens: prompts are computed many positions at a time. */
const POSITION = 0.08;
/** What the reading of a turn's thoughts as words costs, in tokens. */
const READING = 0.3;
/** An answer is rarely as long as it may be. */
const ANSWER_TOKENS = 24;

/**
 * @param paces - ms that a token takes, by agent id.
 * @returns in ms; undefined if a pace is unknown or the run cannot be planned.
 */
export function estimateRun(
  system: System,
  options: RunOptions,
  paces: Readonly<Record<string, number>>,
): number | undefined {
  try {
    const { turns, settings } = planRun(system, options);
    const prompts = planPrompts(system, options);
    let total = 0;
    for (const { agent, round, latentSteps, textTokens, answers } of turns) {
      const pace = paces[agent];
      if (pace === undefined) return undefined;
      const prompt = prompts(agent, round);
      const characters = prompt.reduce((sum, part) => sum + (part.kind === "text" ? part.text.length : 0), 0);
      const slots = round === 0 ? 0 : prompt.filter(({ kind }) => kind === "latent").length;
      const tokens = textTokens + (answers ? Math.min(settings.decoding.maxNewTokens, ANSWER_TOKENS) : 0);
      const positions = characters / CHARACTERS + slots * settings.latentSteps;
      const reading = latentSteps > 0 ? READING : 0;
      total += pace * (positions * POSITION + latentSteps + tokens + reading);
    }
    return total;
  } catch {
    return undefined;
  }
}

/** A time in round numbers: `5 s`, `40 s`, `3 minutes`, `2 hours`; undefined for what is over at once. */
export function aboutTime(ms: number): string | undefined {
  const seconds = ms / 1000;
  if (seconds < 3) return undefined;
  if (seconds < 55) return `${Math.max(5, Math.round(seconds / 5) * 5)} seconds`;
  const minutes = Math.max(1, Math.round(seconds / 60));
  if (minutes < 100) return minutes === 1 ? "1 minute" : `${minutes} minutes`;
  return `${Math.round(minutes / 60)} hours`;
}
