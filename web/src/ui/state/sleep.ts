/** Asks the browser not to put the tab to sleep during a run, and notices if it did. */

const LOCK = "recursivemas-run";

/** Holds a lock during some work, because browsers do not freeze a page with a lock. Does without if there are no locks. */
export async function keepAwake<T>(work: () => Promise<T>): Promise<T> {
  if (typeof navigator === "undefined" || !("locks" in navigator)) return await work();
  return (await navigator.locks.request(LOCK, { mode: "shared" }, work)) as T;
}

/** Hidden tabs run timers once a minute; a longer gap means that the machine was asleep. */
const LOOK_EVERY_MS = 20_000;
const ASLEEP_AFTER_MS = 150_000;

/** @param onSleep - called when the browser freezes or resumes the page, and after the machine was asleep. */
export function watchSleep(onSleep: () => void): void {
  // Only Chrome freezes pages. Other browsers slow down hidden pages, which hardly affects a worker.
  document.addEventListener("freeze", onSleep);
  document.addEventListener("resume", onSleep);
  let seen = Date.now();
  setInterval(() => {
    if (Date.now() - seen > ASLEEP_AFTER_MS) onSleep();
    seen = Date.now();
  }, LOOK_EVERY_MS);
}
