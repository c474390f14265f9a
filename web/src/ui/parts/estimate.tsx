/** How long a run will take on this machine, if that is long enough to be said before it begins. */
import type { JSX } from "preact";
import type { RunOptions } from "../../engine/api";
import { aboutTime, estimateRun } from "../model/estimate";
import { firstSmall } from "../model/words";
import { openSystem } from "../state/open";
import { useStore } from "../state/store";

/** From here on the page offers a smaller system. */
const LONG_MS = 30_000;

interface EstimateProps {
  /** What will be run, one after the other. */
  readonly runs: readonly RunOptions[];
  /** How often: with so many questions like the one in the options. */
  readonly times?: number;
}

export function Estimate({ runs, times = 1 }: EstimateProps): JSX.Element | null {
  const { session, page } = useStore();
  const system = session.system.value;
  if (!system || session.phase.value !== "ready") return null;
  const total = runs.reduce<number | undefined>((sum, options) => {
    const ms = estimateRun(system, options, session.paces.value);
    return sum === undefined || ms === undefined ? undefined : sum + ms * times;
  }, 0);
  const words = total === undefined ? undefined : aboutTime(total);
  if (total === undefined || words === undefined) return null;
  const small = total < LONG_MS ? undefined : firstSmall(session.catalog.value, system.name);
  return (
    <p class="estimate">
      This will take about {words} on this machine.
      {session.handle.value?.device.fallback &&
        " The browser has no graphics card to use and computes in software."}{" "}
      {small && (
        <>
          A system of tiny agents answers at once:{" "}
          <button
            type="button"
            class="link"
            disabled={session.busy.value}
            onClick={() => openSystem({ page }, small.url)}
          >
            open {small.name}
          </button>
        </>
      )}
    </p>
  );
}
