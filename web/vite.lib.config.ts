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
  const { version, description, license } = JSON.parse(text("package.json"));
  const manifest = {
    name: "recursivemas",
    version,
    description,
    license,
    type: "module",
    exports: {
      ".": { types: "./types/engine/api.d.ts", import: "./recursivemas.js" },
      "./worker.js": "./worker.js",
    },
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

export default defineConfig({
  base: "./",
  publicDir: false,
  plugins: [withoutNodeModules(), packageFiles()],
  worker: {
    format: "es",
    plugins: () => [withoutNodeModules()],
    rolldownOptions: { output: { entryFileNames: "worker.js", codeSplitting: false } },
  },
  build: {
    target: "es2023",
    outDir: here("lib"),
    emptyOutDir: true,
    lib: { entry: here("src/engine/api.ts"), formats: ["es"], fileName: () => "recursivemas.js" },
  },
});
