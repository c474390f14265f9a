/**
 * Keeps the page, the list of systems and their manifests, so that a second visit works without a network. The network
 * always comes first, so an old page is never shown if a new one can be reached. The engine keeps and checks the agents'
 * files itself: it requests them with `no-store`, and they pass through here untouched.
 *
 * If keeping fails, because the disk is full or the window is private, the page still gets the network's answer.
 */
const CACHE = "recursivemas-page";

/** Resolves when the files of an older page are deleted; new files are kept after that. */
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
    if (isOwn(request, response)) event.waitUntil(keep(request, response.clone()).catch(() => {}));
    return response;
  } catch (error) {
    const kept = await find(request).catch(() => undefined);
    if (kept) return kept;
    throw error;
  }
}

/**
 * Whether an answer is the site's own. The login page of a Wi-Fi network comes by a redirect, from another server, or as
 * HTML in place of a script; kept, it would stand in the page's place from then on.
 *
 * @param {Request} request
 * @param {Response} response
 */
function isOwn(request, response) {
  if (response.status !== 200 || response.type !== "basic" || response.redirected) return false;
  const html = /^text\/html\b/i.test(response.headers.get("Content-Type") ?? "");
  return html === (request.mode === "navigate");
}

/** The page is the same for every query, so it is kept once. */
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

/** The first visit keeps the page under its full address, which includes the query. */
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

/** Deletes copies of the page with other queries and, if the page is new, the scripts and styles of the old one. */
async function tidy(cache, page, response) {
  const before = await findPage(cache, page);
  const renewed = before && (await before.text()) !== (await response.text());
  const assets = new URL("assets/", self.registration.scope).href;
  for (const { url } of await cache.keys()) {
    const copy = url !== page && url.split("?")[0] === page;
    if (copy || (renewed && url.startsWith(assets))) await cache.delete(url);
  }
}
