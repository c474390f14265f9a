/**
 * Measures how fast the agents are on this GPU, with a few positions, so that the page can say how long a run will take.
 */
import type { Performer } from "./recursion";
import type { Pace } from "./types";

/** Positions of the prompt that is timed. */
const POSITIONS = 8;

/**
 * Times an agent: a few positions of a prompt, a latent step and the head. What is timed runs once before, because the
 * first call of a function may compile its shaders.
 *
 * @param now - in ms.
 */
export async function paceOf(agent: Performer, now: () => number): Promise<Pace> {
  const ids = (count: number): readonly number[] => Array.from({ length: count }, (_, id) => id);
  const timed = async (work: () => unknown): Promise<number> => {
    const began = now();
    await work();
    await agent.sync();
    return now() - began;
  };
  const feed = (count: number) => () => agent.feed([{ kind: "tokens", ids: ids(count) }], "hidden");
  const head = async (): Promise<void> => {
    agent.logits();
    await agent.pick({ temperature: 0, topP: 1, topK: 0, repetitionPenalty: 1, written: [], uniform: 0 });
  };
  agent.begin();
  await timed(feed(1));
  const prompt = await timed(feed(POSITIONS));
  await timed(() => agent.think());
  const stepMs = await timed(() => agent.think());
  const headMs = await timed(head);
  return { positionMs: prompt / POSITIONS, stepMs, headMs };
}
