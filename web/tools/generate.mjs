/**
 * `npm run generate`: types, validators and lists of names from schemas/, which scripts/generate.py writes, and the
 * page's tokenizer for `rmas compile`.
 *
 * Validators are valibot's, written out ahead of time: ajv's standalone code needs no library, but took twice the
 * bytes for the same schemas. Files have snake_case keys and TypeScript has camelCase ones. With `--check` nothing is
 * written, and a stale file is an error.
 */

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { pageTokenizerFiles } from "./page-tokenizer.mjs";

const ROOT = new URL("../../", import.meta.url);
const SCHEMAS = new URL("schemas/", ROOT);
const OUT = "web/src/formats/generated/";
const PAGE_TOKENIZER = "build/recursivemas/compiler/page_tokenizer/";
const BANNER = "// Written by `make generate` from core/recursivemas/system. Do not edit.\n";

/** What a file is called in an error, and its root's name in TypeScript. */
const FORMATS = {
  system: ["Manifest", "manifest"],
  recursivelink: ["LinkFile", "link file"],
  "systems-index": ["SystemsIndex", "list of systems"],
  questions: ["Questions", "list of questions"],
  "saved-run": ["SavedRun", "saved run"],
  "shared-links": ["SharedLinks", "record of shared links"],
  gallery: ["Gallery", "gallery"],
};

/** Parts of files that also come in messages between devices, and what each is called in an error. */
const PARTS = {
  SavedOptions: "options of a run",
  TurnSummary: "turn",
  Step: "step",
  Token: "token",
  TurnStart: "turn",
};

const read = (name) => JSON.parse(readFileSync(new URL(name, SCHEMAS), "utf8"));
const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
const lower = (name) => name.charAt(0).toLowerCase() + name.slice(1);
const constant = (name) => name.replace(/(?<!^)([A-Z])/g, "_$1").toUpperCase();
const refName = (schema) => schema.$ref.split("/").at(-1);
const text = (value) => JSON.stringify(value);

/** Every definition of every file, by name; one that depends on others comes after them. */
function collect() {
  const found = new Map();
  const add = (name, schema) => {
    if (name === "Names") return;
    const known = found.get(name);
    if (known && text(known) !== text(schema)) throw new Error(`two different definitions of ${name}`);
    found.set(name, schema);
  };
  for (const file of [...Object.keys(FORMATS), "names"]) {
    const { $schema: _, $defs, ...root } = read(`${file}.schema.json`);
    for (const [name, schema] of Object.entries($defs ?? {})) add(name, schema);
    add(FORMATS[file]?.[0] ?? root.title, root);
  }
  const sorted = new Map();
  const visit = (name) => {
    if (sorted.has(name)) return;
    for (const [, each] of text(found.get(name)).matchAll(/"#\/\$defs\/(\w+)"/g)) visit(each);
    sorted.set(name, found.get(name));
  };
  for (const name of [...found.keys()].sort()) visit(name);
  return sorted;
}

/** A schema of every kind that is used; anything else is an error, so that no keyword is passed over. */
function kindOf(schema) {
  const { description: _1, title: _2, default: _3, control: _4, expected: _5, ...rest } = schema;
  const known = {
    ref: ["$ref"],
    enum: ["enum", "type"],
    const: ["const", "type"],
    union: ["anyOf"],
    variant: ["oneOf", "discriminator"],
    array: ["type", "items", "minItems", "maxItems"],
    record: ["type", "properties", "required", "additionalProperties"],
    string: ["type", "pattern", "minLength", "maxLength", "contentEncoding", "contentMediaType"],
    number: ["type", "minimum", "maximum", "exclusiveMinimum"],
    boolean: ["type"],
    null: ["type"],
  };
  const kind =
    (rest.$ref && "ref") ||
    (rest.enum && "enum") ||
    ("const" in rest && "const") ||
    (rest.anyOf && "union") ||
    (rest.oneOf && "variant") ||
    { object: "record", integer: "number" }[rest.type] ||
    rest.type;
  const odd = Object.keys(rest).find((key) => !known[kind]?.includes(key));
  if (odd) throw new Error(`this generator does not know the keyword '${odd}' in ${text(schema)}`);
  return kind;
}

const isMap = (schema) => schema.type === "object" && !schema.properties;
const isFloats = (schema) => schema.contentMediaType === "application/x-float32";

// Types

function typeOf(schema) {
  switch (kindOf(schema)) {
    case "ref":
      return refName(schema);
    case "enum":
      return schema.enum.map(text).join(" | ");
    case "const":
      return text(schema.const);
    case "union":
      return schema.anyOf.map(typeOf).join(" | ");
    case "variant":
      return schema.oneOf.map(typeOf).join(" | ");
    case "array": {
      const items = typeOf(schema.items);
      return `readonly ${/[ |]/.test(items) ? `(${items})` : items}[]`;
    }
    case "record":
      if (!isMap(schema)) throw new Error(`an object needs a name: ${text(schema)}`);
      return `Readonly<Record<string, ${schema.additionalProperties === true ? "unknown" : typeOf(schema.additionalProperties)}>>`;
    case "string":
      return isFloats(schema) ? "Float32Array" : "string";
    default:
      return kindOf(schema);
  }
}

const comment = ({ description }, indent = "") => (description ? `${indent}/** ${description} */\n` : "");

function declaration(name, schema) {
  if (schema.type !== "object") return `${comment(schema)}export type ${name} = ${typeOf(schema)};\n`;
  const fields = Object.entries(schema.properties).map(([key, field]) => {
    const present = schema.required?.includes(key) || "default" in field;
    return `${comment(field, "  ")}  readonly ${camel(key)}${present ? "" : "?"}: ${typeOf(field)};\n`;
  });
  return `${comment(schema)}export interface ${name} {\n${fields.join("")}}\n`;
}

// Validators

function validator(schema) {
  const piped = (base, checks) => (checks.length ? `v.pipe(${[base, ...checks].join(", ")})` : base);
  const check = (key, call) => (key in schema ? [`v.${call}(${schema[key]})`] : []);
  switch (kindOf(schema)) {
    case "ref":
      return lower(refName(schema));
    case "enum":
      return `v.picklist(${text(schema.enum)})`;
    case "const":
      return `v.literal(${text(schema.const)})`;
    case "union": {
      const others = schema.anyOf.filter(({ type }) => type !== "null");
      const one =
        others.length === 1 ? validator(others[0]) : `v.union([${others.map(validator).join(", ")}])`;
      return others.length < schema.anyOf.length ? `v.nullable(${one})` : one;
    }
    case "variant":
      return `v.variant(${text(schema.discriminator.propertyName)}, [${schema.oneOf.map(validator).join(", ")}])`;
    case "array":
      return piped(`v.array(${validator(schema.items)})`, [
        ...check("minItems", "minLength"),
        ...check("maxItems", "maxLength"),
      ]);
    case "record": {
      const values = schema.additionalProperties;
      if (isMap(schema))
        return `v.record(v.string(), ${values === true ? "v.unknown()" : validator(values)})`;
      const fields = Object.entries(schema.properties).map(([key, field]) => {
        // The program that writes a file may leave out its format and version; a reader must not.
        const optional = !("const" in field) && !schema.required?.includes(key);
        const value = "default" in field ? `, ${text(field.default)}` : "";
        return `  ${key}: ${optional ? `v.optional(${validator(field)}${value})` : validator(field)},\n`;
      });
      return `v.strictObject({\n${fields.join("")}})`;
    }
    case "string": {
      if (isFloats(schema)) return "floats";
      const message = schema.expected ? `, ${text(`expected ${schema.expected}`)}` : "";
      const pattern = schema.pattern ? [`v.regex(/${schema.pattern.replaceAll("/", "\\/")}/${message})`] : [];
      return piped("v.string()", [
        ...check("minLength", "minLength"),
        ...pattern,
        ...check("maxLength", "maxLength"),
      ]);
    }
    case "number":
      return piped("v.number()", [
        ...(schema.type === "integer" ? ["v.integer()"] : []),
        ...check("minimum", "minValue"),
        ...check("exclusiveMinimum", "gtValue"),
        ...check("maximum", "maxValue"),
      ]);
    default:
      return `v.${kindOf(schema)}()`;
  }
}

/** Keys whose values are maps: what is directly below them are names, not keys of ours. */
function mapKeys(definitions, needed) {
  const kinds = new Map();
  for (const name of needed)
    for (const [key, field] of Object.entries(definitions.get(name).properties ?? {})) {
      const kind = isMap(field) ? (field.additionalProperties === true ? "free" : "map") : "other";
      if (kinds.has(key) && kinds.get(key) !== kind)
        throw new Error(`'${key}' is a map in one place and not in another`);
      kinds.set(key, kind);
    }
  return (wanted) => [...kinds].filter(([, kind]) => kind === wanted).map(([key]) => key);
}

function reachable(definitions, names) {
  const found = new Set();
  const visit = (name) => {
    found.add(name);
    for (const [, each] of text(definitions.get(name)).matchAll(/"#\/\$defs\/(\w+)"/g)) visit(each);
  };
  names.forEach(visit);
  return found;
}

function validatorsFile(definitions) {
  const roots = Object.values(FORMATS).map(([name]) => name);
  const needed = reachable(definitions, roots);
  const keys = mapKeys(definitions, needed);
  const schemas = [...definitions]
    .filter(([name]) => needed.has(name))
    .map(([name, schema]) => `const ${lower(name)} = ${validator(schema)};\n`);
  const formats = Object.entries(FORMATS).map(([file, [name, what]]) => {
    const { version } = definitions.get(name).properties ?? {};
    const newest = version ? Math.max(...(version.enum ?? [version.const])) : undefined;
    return [
      `/** schemas/${file}.schema.json */`,
      `export const ${constant(name)}: Format<${name}> =`,
      `{ schema: ${lower(name)}, what: ${text(what)}, version: ${newest} };`,
    ].join("\n");
  });
  for (const [name, what] of Object.entries(PARTS)) {
    formats.push(
      `export const ${constant(name)}: Format<${name}> = { schema: ${lower(name)}, what: ${text(what)}, version: undefined };`,
    );
  }
  const imported = [...roots, ...Object.keys(PARTS)];
  return `import * as v from "valibot";
import type { Format } from "../format";
import { floats } from "../matrix";
import type { ${imported.join(", ")} } from "./types";

/** Keys of files whose value has names in place of keys. */
export const MAPS: ReadonlySet<string> = new Set(${text(keys("map"))});
/** Keys of files whose value is left as it is. */
export const FREE: ReadonlySet<string> = new Set(${text(keys("free"))});

${schemas.join("")}
${formats.join("\n")}
`;
}

function namesFile() {
  const { limits, types, tables, decoding } = read("names.json");
  const imported = new Set();
  const use = (name) => imported.add(name) && name;
  const parts = Object.entries(limits).map(([name, value]) => `export const ${name} = ${value};\n`);
  for (const [name, rows] of Object.entries(tables)) {
    const kind = Object.keys(types).find((each) => text(types[each]) === text(rows.map((row) => row.name)));
    parts.push(`export const ${name}: readonly ${use(`${kind}Info`)}[] = ${text(rows)};\n`);
    parts.push(
      `export const ${name.replace(/S$/, "")}_NAMES: readonly ${use(kind)}[] = ${text(types[kind])};\n`,
    );
  }
  const settings = decoding.map(({ key, ...rest }) => ({ name: camel(key), key, ...rest }));
  parts.push(
    `/** The decoding settings, with what their controls need. */\nexport const DECODING: readonly DecodingSetting[] = ${text(settings)};\n`,
  );
  const names = [...imported].sort().join(", ");
  return `import type { DecodingSetting } from "../decoding";\nimport type { ${names} } from "./types";\n\nexport type { ${names} };\n${parts.join("")}`;
}

/** As biome wants it, so that the files read like the others and need no exception from the linter. */
function format(name, source) {
  const options = { input: source, encoding: "utf8", cwd: new URL("..", import.meta.url) };
  return execFileSync(
    "node_modules/.bin/biome",
    ["check", "--write", `--stdin-file-path=src/formats/generated/${name}`],
    options,
  );
}

const definitions = collect();
const types = [...definitions].map(([name, schema]) => declaration(name, schema)).join("\n");
const formats = { "types.ts": types, "validators.ts": validatorsFile(definitions), "names.ts": namesFile() };
const files = {
  ...Object.fromEntries(
    Object.entries(formats).map(([name, source]) => [`${OUT}${name}`, format(name, `${BANNER}${source}`)]),
  ),
  ...Object.fromEntries(
    Object.entries(await pageTokenizerFiles()).map(([name, source]) => [`${PAGE_TOKENIZER}${name}`, source]),
  ),
};
for (const [path, content] of Object.entries(files)) {
  const file = fileURLToPath(new URL(path, ROOT));
  if (existsSync(file) && readFileSync(file, "utf8") === content) continue;
  if (process.argv.includes("--check")) throw new Error(`${path} is stale; run 'make generate'`);
  writeFileSync(file, content);
  process.stdout.write(`wrote ${path}\n`);
}
