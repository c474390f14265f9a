/** `npm run fuzz`: goes on where it was stopped, and ends with status 1 if anything was unclean. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fuzz } from "./fuzzing";
import { readers } from "./readers";

const CHUNK = 2500;

/**
 * @param progress - path of the file with the inputs done so far, by reader.
 * @param inputs - for each reader.
 * @param only - the readers to try; empty: all.
 * @param say - is given a line now and then.
 * @returns the number of unclean chunks.
 */
export async function campaign(
  progress: string,
  inputs: number,
  only: readonly string[],
  say: (line: string) => void,
): Promise<number> {
  const done: Record<string, number> = existsSync(progress) ? JSON.parse(readFileSync(progress, "utf8")) : {};
  const every = readers().filter(({ name }) => only.length === 0 || only.includes(name));
  mkdirSync(dirname(progress), { recursive: true });
  let unclean = 0;
  // A chunk of each reader in turn, so that a campaign that is stopped has tried all of them.
  for (;;) {
    const waiting = every.filter(({ name }) => (done[name] ?? 0) < inputs);
    if (waiting.length === 0) return unclean;
    for (const reader of waiting) {
      const before = done[reader.name] ?? 0;
      const count = Math.min(CHUNK, inputs - before);
      const fault = await fuzz(reader, count, before + 1);
      if (fault !== undefined) {
        unclean += 1;
        say(fault);
      }
      done[reader.name] = before + count;
      writeFileSync(progress, `${JSON.stringify(done)}\n`);
    }
    const all = every.reduce((sum, { name }) => sum + (done[name] ?? 0), 0);
    say(
      `${all.toLocaleString("en")} inputs of ${(inputs * every.length).toLocaleString("en")}, ${unclean} unclean`,
    );
  }
}
