/**
 * Keeps the page, the list of systems and their manifests, so that a second visit works without a network. What is on
 * the network always comes first: an old page is never shown while there is a new one. The agents' files are kept, and
 * checked, by the engine; it asks for them with `no-store`, and they pass through here untouched.
 *
 * Keeping is a convenience: when it fails, for a full disk or in a private window, the network's answer is given all the
 * same.
 */
const CACHE = "recursivemas-page";

/** What is kept waits until what a new page left behind has gone. */
let tidied = Promise.resolve();

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const own = new URL(request.url).origin === self.location.origin;
  if (!own || request.method !== "GET" || request.cache === "no-store") return;
  event.respondWith(networkFirst(event));
});

/** @param {FetchEvent} event */
async function networkFirst(event) {
  const { request } = event;
  try {
    const response = await fetch(request);
    if (response.status === 200) event.waitUntil(keep(request, response.clone()).catch(() => {}));
    return response;
  } catch (error) {
    const kept = await find(request).catch(() => undefined);
    if (kept) return kept;
    throw error;
  }
}

/** The page is the same whatever its query says: it is kept once. */
function keyOf(request) {
  const url = new URL(request.url);
  if (request.mode === "navigate") url.search = "";
  return url.href;
}

async function find(request) {
  const cache = await caches.open(CACHE);
  const page = request.mode === "navigate";
  return page ? await findPage(cache, keyOf(request)) : await cache.match(keyOf(request));
}

/** A first visit keeps the page by the address it had, its query included. */
async function findPage(cache, page) {
  return (await cache.match(page)) ?? (await cache.match(page, { ignoreSearch: true }));
}

async function keep(request, response) {
  const cache = await caches.open(CACHE);
  if (request.mode === "navigate") {
    tidied = tidy(cache, keyOf(request), response.clone()).catch(() => {});
  }
  await tidied;
  await cache.put(keyOf(request), response);
}

/** Drops copies of the page by other queries, and, when the page is a new one, the scripts and styles of the old. */
async function tidy(cache, page, response) {
  const before = await findPage(cache, page);
  const renewed = before && (await before.text()) !== (await response.text());
  const assets = new URL("assets/", self.registration.scope).href;
  for (const { url } of await cache.keys()) {
    const copy = url !== page && url.split("?")[0] === page;
    if (copy || (renewed && url.startsWith(assets))) await cache.delete(url);
  }
}
