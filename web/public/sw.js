/**
 * Keeps the page, the list of systems and their manifests, so that a second visit works without a network. What is on
 * the network always comes first: an old page is never shown while there is a new one. The agents' files are kept, and
 * checked, by the engine; it asks for them with `no-store`, and they pass through here untouched.
 */
const CACHE = "recursivemas-page";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const own = new URL(request.url).origin === self.location.origin;
  if (!own || request.method !== "GET" || request.cache === "no-store") return;
  event.respondWith(networkFirst(request));
});

/** @param {Request} request */
async function networkFirst(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok && response.status === 200) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    // The page is the same whatever its query says.
    const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
    if (kept) return kept;
    throw error;
  }
}
