// Declarations name their neighbours as bundlers do ("./types"); Node's resolution needs the extension too.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const folder = new URL("../lib/types/", import.meta.url);
for (const name of readdirSync(folder, { recursive: true }).filter((each) => each.endsWith(".d.ts"))) {
  const file = new URL(name, folder);
  writeFileSync(file, readFileSync(file, "utf8").replace(/(from "\.{1,2}\/[\w/-]+)(")/g, "$1.js$2"));
}
