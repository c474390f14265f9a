import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic" } },
  // Vite's development server would move the engine away from its worker.
  optimizeDeps: { exclude: ["recursivemas"] },
});
