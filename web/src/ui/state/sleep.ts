/** Tabs that browsers put to sleep: asking them not to while a run goes on, and noticing when they did. */

const LOCK = "recursivemas-run";

/** Browsers do not freeze a page that holds a lock; where there are no locks the work goes on without. */
export async function keepAwake<T>(work: () => Promise<T>): Promise<T> {
  if (typeof navigator === "undefined" || !("locks" in navigator)) return await work();
  return (await navigator.locks.request(LOCK, { mode: "shared" }, work)) as T;
}

/** Timers of hidden tabs tick once a minute; a gap longer than this is a machine that slept. */
const LOOK_EVERY_MS = 20_000;
const ASLEEP_AFTER_MS = 150_000;

/** @param onSleep - called when the browser freezes the page or wakes it, and when the machine was asleep. */
export function watchSleep(document: Document, onSleep: () => void): void {
  // Chrome's page lifecycle; other browsers only slow hidden pages down, which a worker hardly notices.
  document.addEventListener("freeze", onSleep);
  document.addEventListener("resume", onSleep);
  let seen = Date.now();
  setInterval(() => {
    if (Date.now() - seen > ASLEEP_AFTER_MS) onSleep();
    seen = Date.now();
  }, LOOK_EVERY_MS);
}
