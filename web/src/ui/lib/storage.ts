/** What of the page is kept for the next visit; the agents' files are kept by the engine. */

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

/** Deletes the page itself from what is kept; the agents' files are the engine's to delete. */
export async function forgetPage(): Promise<void> {
  if (typeof caches !== "undefined") await caches.delete(PAGE_CACHE);
}
