/** Tabs that browsers put to sleep: asking them not to while a run goes on, and noticing when they did. */

const LOCK = "recursivemas-run";

/** Browsers do not freeze a page that holds a lock; where there are no locks the work goes on without. */
export async function keepAwake<T>(work: () => Promise<T>): Promise<T> {
  if (typeof navigator === "undefined" || !("locks" in navigator)) return await work();
  return (await navigator.locks.request(LOCK, { mode: "shared" }, work)) as T;
}

/** @param onSleep - called when the browser freezes the page, and when it wakes it. */
export function watchSleep(document: Document, onSleep: () => void): void {
  // Chrome's page lifecycle; other browsers only slow hidden pages down, which a worker hardly notices.
  document.addEventListener("freeze", onSleep);
  document.addEventListener("resume", onSleep);
}
