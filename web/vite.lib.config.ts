/**
 * `npm run build:lib` makes the engine a package for other projects (web/lib): one module, its worker beside it, types.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { withoutNodeModules } from "./vite.config.ts";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const text = (path: string): string => readFileSync(here(path), "utf8");

/** Writes the files that npm needs besides the code. The code is bundled, so the package has no dependencies. */
function packageFiles(): Plugin {
  const { version, license } = JSON.parse(text("package.json"));
  // Set where a workflow builds; npm compares it with the provenance.
  const repository = process.env.GITHUB_REPOSITORY;
  const manifest = {
    name: "recursivemas",
    version,
    description: "Agents that hand over hidden states, on WebGPU: the engine of RecursiveMAS in the browser.",
    keywords: ["webgpu", "llm", "agents", "multi-agent", "latent", "recursivemas"],
    license,
    ...(repository ? { repository: { type: "git", url: `git+https://github.com/${repository}.git` } } : {}),
    type: "module",
    sideEffects: false,
    types: "./types/engine/api.d.ts",
    exports: {
      ".": { types: "./types/engine/api.d.ts", import: "./recursivemas.js" },
      "./node": { types: "./types/engine/node.d.ts", import: "./node.js" },
      "./worker.js": "./worker.js",
      "./package.json": "./package.json",
    },
    files: ["*.js", "types"],
    engines: { node: ">=20" },
  };
  const files = {
    "package.json": `${JSON.stringify(manifest, null, 2)}\n`,
    "README.md": text("../docs/engine.md"),
    LICENSE: text("../LICENSE"),
  };
  return {
    name: "package-files",
    generateBundle() {
      for (const [fileName, source] of Object.entries(files))
        this.emitFile({ type: "asset", fileName, source });
    },
  };
}

/** In the package, node.js takes from recursivemas.js what both need, so that this stays one file. */
function oneModule(): Plugin {
  return {
    name: "one-module",
    enforce: "pre",
    resolveId: (id, importer) =>
      id === "./api" && importer?.endsWith("/node.ts") ? { id: "./recursivemas.js", external: true } : null,
  };
}

export default defineConfig({
  base: "./",
  publicDir: false,
  plugins: [withoutNodeModules(), oneModule(), packageFiles()],
  worker: {
    format: "es",
    plugins: () => [withoutNodeModules()],
    rolldownOptions: { output: { entryFileNames: "worker.js", codeSplitting: false } },
  },
  build: {
    target: "es2023",
    outDir: here("lib"),
    emptyOutDir: true,
    lib: {
      entry: { recursivemas: here("src/engine/api.ts"), node: here("src/engine/node.ts") },
      formats: ["es"],
      fileName: (_, name) => `${name}.js`,
    },
  },
});
