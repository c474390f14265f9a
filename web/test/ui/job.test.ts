import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EngineError, type RunEvent, type RunOptions, type RunResult } from "../../src/engine/api";
import { Job } from "../../src/ui/state/job";
import type { Session } from "../../src/ui/state/session";

const OPTIONS: RunOptions = { question: "q" };
const RESULT = { answer: "a" } as RunResult;
const EVENT: RunEvent = { kind: "turn-start", round: 0, agent: "a", promptTokens: 1, latentRows: 0 };

/** A job whose runs report two events and then do what `end` does. */
function jobOf(end: (signal: AbortSignal | undefined) => RunResult | Promise<RunResult>) {
  const fail = vi.fn<Session["fail"]>();
  const run: Session["run"] = async (_, hooks = {}) => {
    hooks.onEvent?.(EVENT);
    hooks.onEvent?.(EVENT);
    return await end(hooks.signal);
  };
  return { job: new Job({ run, fail }), fail };
}

/** Ends as the engine does once the signal fires. */
const cancelled = (signal: AbortSignal | undefined): Promise<RunResult> =>
  new Promise((_, reject) => {
    signal?.addEventListener("abort", () => reject(new EngineError("cancelled", "cancelled")));
  });

let frames: (() => void)[] = [];

beforeEach(() => {
  frames = [];
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => frames.push(draw));
  vi.stubGlobal("cancelAnimationFrame", (id: number) => frames.splice(id - 1, 1, () => {}));
});
afterEach(() => vi.unstubAllGlobals());

describe("a job", () => {
  test("runs what it is given and says so while it does", async () => {
    const { job, fail } = jobOf(() => RESULT);
    const outcome = job.start(async (run) => {
      const { events, result } = await run(OPTIONS);
      expect([events.length, result]).toEqual([2, RESULT]);
    });
    expect(job.running.value).toBe(true);
    expect(await outcome).toBe("done");
    expect(job.running.value).toBe(false);
    expect(fail).not.toHaveBeenCalled();
  });

  test("shows the events once a frame, however many there are", async () => {
    const shown: number[] = [];
    const { job } = jobOf(cancelled);
    const outcome = job.start(async (run) => {
      await run(OPTIONS, (events) => shown.push(events.length));
    });
    expect(frames.length).toBe(1);
    for (const draw of frames) draw();
    expect(shown).toEqual([2]);
    job.cancel();
    expect(await outcome).toBe("cancelled");
    expect(shown).toEqual([2, 2]);
  });

  test("that fails gives the session its problem", async () => {
    const error = new EngineError("device-lost", "gone");
    const { job, fail } = jobOf(() => Promise.reject(error));
    expect(await job.start(async (run) => void (await run(OPTIONS)))).toBe("failed");
    expect(fail).toHaveBeenCalledWith(error);
  });

  test("that was dropped shows nothing more", async () => {
    const shown: number[] = [];
    const { job } = jobOf(cancelled);
    const outcome = job.start(async (run) => {
      await run(OPTIONS, (events) => shown.push(events.length));
    });
    job.drop();
    for (const draw of frames) draw();
    expect(await outcome).toBe("dropped");
    expect(shown).toEqual([]);
  });
});
