/** Builds the page on the stand-in engine into .cache/web-fake; the shipped page is built by web/vite.config.ts. */
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The real worker is never started here, so it need not be built. */
const emptyWorker = (): Plugin => ({
  name: "empty-worker",
  enforce: "pre",
  load: (id) => (id.includes("/src/engine/worker.ts") ? "export {};" : null),
});

export default defineConfig({
  root: here("../.."),
  base: "./",
  publicDir: false,
  worker: { format: "es", plugins: () => [emptyWorker()] },
  build: {
    target: "es2023",
    outDir: here("../../../.cache/web-fake"),
    emptyOutDir: true,
    rolldownOptions: { input: here("dev.html") },
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
});
