/** Keeps the page itself for the next visit; the engine keeps the agents' files. */

const PAGE_CACHE = "recursivemas-page";

/**
 * Registers the service worker and keeps the files that the page has loaded before the worker took over. Without service
 * workers (at an insecure address or in a private window) the page needs the network.
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
    await Promise.allSettled([...new Set(own)].map((url) => keep(cache, url)));
  } catch {
    // Without this only offline visits are missing.
  }
}

/** Keeps a file unless the answer is somebody else's, such as the login page of a Wi-Fi network; see sw.js. */
async function keep(cache: Cache, url: string): Promise<void> {
  const response = await fetch(url);
  const html = /^text\/html\b/i.test(response.headers.get("Content-Type") ?? "");
  const page = url === window.location.href;
  if (response.status === 200 && response.type === "basic" && !response.redirected && html === page)
    await cache.put(url, response);
}

/** Deletes the kept files of the page itself; the engine deletes the agents' files. */
export async function forgetPage(): Promise<void> {
  if (typeof caches !== "undefined") await caches.delete(PAGE_CACHE);
}
