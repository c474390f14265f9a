/** A worker that loads a system once and answers questions through links in JavaScript. */
import { fetchBytes } from "../../src/engine/download";
import { Engine } from "../../src/engine/engine";
import { EngineError } from "../../src/engine/errors";
import { type Links, parseLinks } from "../../src/engine/links";
import type { RunOptions } from "../../src/engine/types";
import { runOnHostLinks } from "./host-links";

async function load(url: string): Promise<[Engine, Links]> {
  const engine = await Engine.load(url, { cache: false }, undefined, () => {});
  const { system } = engine;
  const text = new TextDecoder().decode(await fetchBytes(new URL(system.links, url).href));
  return [engine, parseLinks(text, system.agents, system.edges)];
}

let loading: ReturnType<typeof load> | undefined;

self.onmessage = async ({ data }: MessageEvent<{ url: string; options: RunOptions }>) => {
  try {
    loading ??= load(data.url);
    const [engine, links] = await loading;
    self.postMessage({ result: await runOnHostLinks(engine, links, data.options) });
  } catch (error) {
    self.postMessage({ error: EngineError.from(error).toWire() });
  }
};
