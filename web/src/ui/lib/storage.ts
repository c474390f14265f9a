/** Keeps the page itself for the next visit; the engine keeps the agents' files. */

const PAGE_CACHE = "recursivemas-page";

/**
 * Registers the service worker, and keeps the page and every file of its own that a request fetched past the worker:
 * those from before it took over, which may arrive later. Without service workers (at an insecure address or in a private
 * window) the page needs the network.
 */
export async function keepPage(): Promise<void> {
  if (!("serviceWorker" in navigator) || typeof caches === "undefined") return;
  try {
    await navigator.serviceWorker.register("./sw.js");
    const cache = await caches.open(PAGE_CACHE);
    const seen = new Set<string>();
    const keepOnce = (url: string, isPage: boolean): void => {
      if (seen.has(url) || new URL(url).origin !== window.location.origin) return;
      seen.add(url);
      keep(cache, url, isPage).catch(() => {}); // Without this only offline visits are missing.
    };
    // The worker may control the page by now, so only these entries tell which requests went past it.
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as PerformanceResourceTiming[])
        if (entry.workerStart === 0) keepOnce(entry.name, entry.entryType === "navigation");
    });
    observer.observe({ type: "navigation", buffered: true });
    observer.observe({ type: "resource", buffered: true });
  } catch {
    // Without this only offline visits are missing.
  }
}

/** Keeps a file unless the answer is somebody else's, such as the login page of a Wi-Fi network; see sw.js. */
async function keep(cache: Cache, url: string, isPage: boolean): Promise<void> {
  const response = await fetch(url);
  const html = /^text\/html\b/i.test(response.headers.get("Content-Type") ?? "");
  if (response.status === 200 && response.type === "basic" && !response.redirected && html === isPage)
    await cache.put(url, response);
}

/** Deletes the kept files of the page itself; the engine deletes the agents' files. */
export async function forgetPage(): Promise<void> {
  if (typeof caches !== "undefined") await caches.delete(PAGE_CACHE);
}
