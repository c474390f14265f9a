/**
 * Files that `npm run generate` writes for `rmas compile`: the page's reader of `tokenizer.json` as a program for Node,
 * what `npm ci` needs to install the one library it loads, and the Node that both need, which web/package.json names.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const LIBRARY = "@huggingface/tokenizers";
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const json = (value) => `${JSON.stringify(value, null, 2)}\n`;

/** @returns the content of each file by its name. */
export async function pageTokenizerFiles() {
  const lock = JSON.parse(readFileSync(here("../package-lock.json"), "utf8"));
  const installed = lock.packages[`node_modules/${LIBRARY}`];
  const manifest = {
    name: "recursivemas-page-tokenizer",
    version: "1.0.0",
    engines: lock.packages[""].engines,
    dependencies: { [LIBRARY]: installed.version },
  };
  const [{ output }] = await build({
    configFile: false,
    logLevel: "error",
    publicDir: false,
    build: {
      write: false,
      minify: false,
      target: "es2023",
      lib: { entry: here("tokenizer-probe.mjs"), formats: ["cjs"] },
      rolldownOptions: { external: [LIBRARY, /^node:/], output: { comments: false } },
    },
  });
  return {
    "probe.cjs": `// Written by \`make generate\` from web/src/engine and web/tools. Do not edit.\n${output[0].code}`,
    "package.json": json({ ...manifest, private: true }),
    "package-lock.json": json({
      name: manifest.name,
      version: manifest.version,
      lockfileVersion: lock.lockfileVersion,
      requires: true,
      packages: { "": manifest, [`node_modules/${LIBRARY}`]: installed },
    }),
  };
}
