/**
 * Runs the fuzzing campaign of the page's readers: `npm run fuzz -- [--inputs 50000] [--progress FILE] [reader …]`.
 * test/fuzz/fuzzing.ts says what it does.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createServer, isRunnableDevEnvironment } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    inputs: { type: "string", default: "50000" },
    progress: { type: "string", default: here("../../.cache/fuzz-web.json") },
  },
});

// Vite reads TypeScript; nothing is served.
const vite = await createServer({
  configFile: false,
  root: here(".."),
  logLevel: "error",
  appType: "custom",
  server: { middlewareMode: true, watch: null, hmr: false, ws: false },
});
const { ssr } = vite.environments;
if (!isRunnableDevEnvironment(ssr)) throw new Error("this version of Vite cannot run modules");
const { campaign } = await ssr.runner.import(here("../test/fuzz/campaign.ts"));
const say = (line) => process.stdout.write(`${line}\n`);
const unclean = await campaign(values.progress, Number(values.inputs), positionals, say);
await vite.close();
process.exitCode = unclean > 0 ? 1 : 0;
