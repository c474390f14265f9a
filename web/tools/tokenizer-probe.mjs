/**
 * What the page's reader of `tokenizer.json` makes of texts and ids; `rmas compile` compares it with transformers.
 *
 * It reads a job from standard input and writes the result to standard output, both JSON. `npm run generate` bundles it
 * for the Python package, without the library: that one comes from npm.
 */
import { readFileSync, writeSync } from "node:fs";
import { loadTokenizer } from "../src/engine/tokenizer.ts";

const { tokenizer, config, texts, ids } = JSON.parse(readFileSync(0, "utf8"));

function probe() {
  try {
    const { encode, decode } = loadTokenizer(tokenizer, config ?? undefined, "agent");
    const encoded = texts.map(encode);
    return { encoded, decoded: [...encoded, ...ids].map(decode) };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

// Not `console.log`: a pipe may take a part of it only.
let rest = Buffer.from(JSON.stringify(probe()));
while (rest.length > 0) {
  try {
    rest = rest.subarray(writeSync(1, rest));
  } catch (error) {
    if (error.code !== "EAGAIN") throw error;
  }
}
