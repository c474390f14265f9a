/** Measures how fast an agent is on this GPU, so that the page can say how long a run will take. */
import type { Performer } from "./performer";

/** A token that takes less than this is timed again, because the first one may have compiled shaders. */
const SHORT_MS = 2000;

/**
 * Times one decoded token, which costs about as much as a latent step.
 *
 * @param now - in ms.
 * @returns ms.
 */
export async function paceOf(agent: Performer, now: () => number): Promise<number> {
  const decode = async (): Promise<number> => {
    const began = now();
    agent.begin([], [], 1);
    agent.decode(0);
    await agent.sync();
    return now() - began;
  };
  const first = await decode();
  return first < SHORT_MS ? await decode() : first;
}
