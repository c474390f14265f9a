import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The web runtime asks for these when it runs in Node; a browser never gets there. */
const NODE_ONLY = new Set(["fs", "path", "crypto", "perf_hooks", "ws"]);

export function withoutNodeModules(): Plugin {
  const empty = "\0node-only";
  return {
    name: "without-node-modules",
    enforce: "pre",
    resolveId: (id, importer) =>
      NODE_ONLY.has(id) && importer?.includes("@mlc-ai/web-runtime") ? empty : null,
    load: (id) => (id === empty ? "export default {};" : null),
  };
}

/**
 * `vite build` makes the page (web/dist, relative URLs, so that it works from any sub-path);
 * `vite build --mode harness` makes the page that the browser tests and `make bench` drive (not shipped).
 */
export default defineConfig(({ mode }) => ({
  base: "./",
  plugins: [withoutNodeModules()],
  worker: { format: "es" as const, plugins: () => [withoutNodeModules()] },
  ...(mode === "harness" ? { root: here("test/harness"), publicDir: false as const } : {}),
  build: {
    target: "es2023",
    outDir: here(mode === "harness" ? "../.cache/web-harness" : "dist"),
    emptyOutDir: true,
    ...(mode === "harness" ? {} : { rolldownOptions: { input: [here("index.html"), here("gallery.html")] } }),
  },
  oxc: { jsx: { runtime: "automatic" as const, importSource: "preact" } },
  test: {
    include: ["test/**/*.test.{ts,tsx}"],
    environment: "node" as const,
    // Only a test that hangs takes that long; a busy machine does not.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    coverage: {
      include: ["src/**"],
      reporter: ["text-summary", "html"],
      reportsDirectory: here("../coverage/web"),
    },
  },
}));
