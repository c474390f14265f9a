// Declarations name their neighbours as bundlers do ("./types"); Node's resolution wants the extension too.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const folder = new URL("../lib/types/", import.meta.url);
for (const name of readdirSync(folder)) {
  const file = new URL(name, folder);
  writeFileSync(file, readFileSync(file, "utf8").replace(/(from "\.\/[\w-]+)(")/g, "$1.js$2"));
}
