// Asks a system that lies in a folder, on the GPU, without a browser: node ask.mjs FOLDER [QUESTION]
import { openAsBlob } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { loadSystem } from "recursivemas";
import { inThisProcess } from "recursivemas/node";
import { create, globals } from "webgpu";

const [folder, asked] = process.argv.slice(2);
if (!folder) {
  console.error("usage: node ask.mjs FOLDER [QUESTION], where FOLDER has a system.json that 'rmas build' wrote");
  process.exit(2);
}

const files = new Map();
for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  files.set(relative(folder, path).split(sep).join("/"), await openAsBlob(path));
}

try {
  const system = await loadSystem("system.json", { files }, await inThisProcess(create([]), globals));
  const question = asked ?? system.questions[0]?.question ?? "";
  const { answer, turns, ms } = await system.run({ question });
  console.log(`question: ${question}`);
  console.log(`answer:   ${answer}`);
  console.log(`${turns.length} turns in ${Math.round(ms)} ms on ${system.device.description || "the GPU"}`);
  await system.dispose();
} catch (error) {
  console.error(`${error.code ?? "error"}: ${error.message}`);
  process.exitCode = 1;
}
process.exit(); // the package webgpu keeps the process alive
