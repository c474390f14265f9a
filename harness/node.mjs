/**
 * Runs harness.js in Node instead of a browser, on the WebGPU adapter that the `webgpu` package (Dawn) finds, or on one
 * that does nothing.
 *
 * Each line of input is a JSON array [script, argument]. The script is evaluated as a function of the argument, and one
 * line answers it: {"value"} or {"error"}. The first line is the adapter, or {"error"} if there is none, or if it lacks
 * float16 and the last argument asks for it.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { idleGpu } from "./idle-gpu.mjs";

const [web, origin, ...words] = process.argv.slice(2);
const { create, globals } = await import(pathToFileURL(`${web}/node_modules/webgpu/index.js`).href);
const gpu = words.includes("idle") ? idleGpu : create([]);

/** The part of a browser's cache that tvmjs uses. */
class MemoryCache {
  #responses = new Map();
  async add(request) {
    this.#responses.set(request.url ?? request, await fetch(request));
  }
  async match(request) {
    return this.#responses.get(request.url ?? request)?.clone();
  }
  async keys() {
    return [...this.#responses.keys()].map((url) => ({ url: String(url) }));
  }
  async delete(request) {
    return this.#responses.delete(request.url ?? request);
  }
}
const cache = new MemoryCache();
const fetchAbsolute = globalThis.fetch;

Object.assign(globalThis, globals, {
  window: globalThis,
  location: new URL(origin),
  fetch: (input, init) => fetchAbsolute(typeof input === "string" ? new URL(input, origin) : input, init),
  caches: { open: async () => cache },
  tvmjs: createRequire(import.meta.url)(`${web}/node_modules/@mlc-ai/web-runtime/lib/index.js`),
});
Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });

const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const log = console.error;
Object.assign(console, { log, info: log, debug: log });

const adapter = await gpu.requestAdapter();
if (!adapter || (words.includes("half") && !adapter.features.has("shader-f16"))) {
  answer({ error: adapter ? `${adapter.info.description} has no shader-f16` : "no WebGPU adapter" });
  process.exit(0);
}
const evaluate = (source) => globalThis.eval(source);
evaluate(readFileSync(new URL("harness.js", import.meta.url), "utf8"));
answer({ value: adapter.info.description });

for await (const line of createInterface({ input: process.stdin })) {
  const [script, argument] = JSON.parse(line);
  try {
    const made = evaluate(`(${script})`);
    answer({ value: (await (typeof made === "function" ? made(argument) : made)) ?? null });
  } catch (error) {
    answer({ error: String(error?.stack ?? error) });
  }
}
process.exit(0); // Dawn keeps the event loop alive.
