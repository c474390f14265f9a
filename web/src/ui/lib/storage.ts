/** What is kept in this browser, and for the next visit. */

/** All caches of the project begin with this: `recursivemas-files` (the engine's) and `recursivemas-page`. */
const PREFIX = "recursivemas-";
const PAGE_CACHE = "recursivemas-page";

/**
 * Registers the service worker, and keeps what the page has used so far: it was fetched before the worker took over.
 * Where there is no service worker (an insecure address, a private window) the page simply needs the network.
 */
export async function keepPage(): Promise<void> {
  if (!("serviceWorker" in navigator) || typeof caches === "undefined") return;
  try {
    await navigator.serviceWorker.register("./sw.js");
    const used = performance.getEntriesByType("resource").map(({ name }) => name);
    const own = [window.location.href, ...used].filter(
      (url) => new URL(url).origin === window.location.origin,
    );
    const cache = await caches.open(PAGE_CACHE);
    await Promise.allSettled([...new Set(own)].map((url) => cache.add(url)));
  } catch {
    // Offline visits are a convenience; without them nothing else is missing.
  }
}

/** @returns bytes kept for this address, as far as the browser says; undefined when it does not. */
export async function keptBytes(): Promise<number | undefined> {
  try {
    const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX));
    if (names.length === 0) return 0;
    return (await navigator.storage.estimate()).usage;
  } catch {
    return undefined;
  }
}

/** Deletes every file that this project keeps in the browser. */
export async function forgetAll(): Promise<void> {
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX));
  await Promise.all(names.map((name) => caches.delete(name)));
}
