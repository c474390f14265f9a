// Writes the documentation of the npm package's public names as one Markdown page, from their TSDoc, to standard output:
// node api-page.mjs. scripts/docs_site.py makes a page of the site of it.
//
// TypeScript 7 has no interface for programs yet, so the sources are read by the TypeScript that ts-morph brings.
import { fileURLToPath } from "node:url";
import { Node, Project, ts } from "ts-morph";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** The package's entries and what is imported from each, as vite.lib.config.ts exports them. */
const ENTRIES = [
  ["recursivemas", "../src/engine/api.ts"],
  ["recursivemas/node", "../src/engine/node.ts"],
];

const project = new Project({ tsConfigFilePath: here("../tsconfig.engine.json") });

/** Order of the page: what is called first, then what it takes and gives. */
const rank = (declaration) =>
  Node.isFunctionDeclaration(declaration) ? 0 : Node.isClassDeclaration(declaration) ? 1 : 2;

const lines = [
  "# JavaScript, every name",
  "",
  "What the npm package exports, made from its sources. [Engine](engine.md) shows how to use it.",
  "",
];
const seen = new Set();
for (const [name, path] of ENTRIES) {
  const exported = [...project.getSourceFileOrThrow(here(path)).getExportedDeclarations()]
    .map(([export_, [declaration]]) => ({ name: export_, declaration }))
    .filter(({ declaration }) => !seen.has(declaration))
    .sort((a, b) => rank(a.declaration) - rank(b.declaration) || a.name.localeCompare(b.name, "en"));
  lines.push(`## ${name}`, "");
  for (const each of exported) {
    seen.add(each.declaration);
    lines.push(...section(each));
  }
}
process.stdout.write(
  `${lines
    .join("\n")
    .replace(/\n{3,}/g, "\n\n")
    .trimEnd()}\n`,
);

/** One exported name: its declaration, what it is, and its members. */
function section({ name, declaration }) {
  const documented = Node.isVariableDeclaration(declaration)
    ? declaration.getVariableStatementOrThrow()
    : declaration;
  return [
    `### ${name}`,
    "",
    ...prose(documented),
    "```ts",
    signature(name, declaration),
    "```",
    "",
    ...members(declaration),
  ];
}

/** The declaration without bodies. */
function signature(name, declaration) {
  if (Node.isFunctionDeclaration(declaration)) {
    const { parameters, result } = call(declaration);
    return `function ${name}(${parameters}): ${result}`;
  }
  if (Node.isVariableDeclaration(declaration)) return `const ${name}: ${type(declaration)}`;
  if (Node.isInterfaceDeclaration(declaration)) {
    const bases = declaration.getExtends().map((each) => each.getText());
    return `interface ${name}${bases.length > 0 ? ` extends ${bases.join(", ")}` : ""}`;
  }
  if (Node.isClassDeclaration(declaration)) {
    const base = declaration.getExtends()?.getText();
    return `class ${name}${base ? ` extends ${base}` : ""}`;
  }
  // The comments within document the alternatives.
  return declaration.getText().replace(/^export /, "");
}

function call(declaration) {
  const parameters = declaration.getParameters().map((each) => {
    const optional = each.isOptional() ? "?" : "";
    return `${each.getName()}${optional}: ${type(each)}`;
  });
  const result =
    declaration.getReturnTypeNode?.()?.getText() ?? short(declaration.getReturnType(), declaration);
  return { parameters: parameters.join(", "), result };
}

function type(node) {
  return node.getTypeNode?.()?.getText() ?? short(node.getType(), node);
}

/** A type as its own file would write it. */
function short(of, node) {
  return of.getText(node, ts.TypeFormatFlags.UseAliasDefinedOutsideCurrentScope);
}

/** Description and tags. */
function prose(node) {
  const docs = node.getJsDocs?.() ?? [];
  const text = docs.map((each) => words(each.getDescription())).join("\n\n");
  const tags = docs.flatMap((each) => each.getTags());
  const list = tags.flatMap((tag) => {
    const said = words(tag.getCommentText() ?? "").replace(/^-\s*/, "");
    const item = (text) => [`- ${text.replaceAll("\n", "\n  ")}`];
    if (Node.isJSDocParameterTag(tag)) return item(`\`${tag.getName()}\`: ${said}`);
    if (tag.getTagName() === "returns") return item(`Returns ${said}`);
    if (tag.getTagName() === "throws") return item(`Throws ${said}`);
    return [];
  });
  return [text.trim(), "", ...list, ""];
}

function words(text) {
  return text.trim().replace(/\{@link (\w+)\}/g, "`$1`");
}

/** The public members of an interface or a class, as a list; those of the interface that an alias stands for. */
function members(given) {
  const meant = Node.isTypeAliasDeclaration(given) ? given.getTypeNode()?.getType().getSymbol() : undefined;
  const declaration = meant?.getDeclarations().find(Node.isInterfaceDeclaration) ?? given;
  if (!Node.isInterfaceDeclaration(declaration) && !Node.isClassDeclaration(declaration)) return [];
  const shown = declaration
    .getMembers()
    .filter((each) => each.getName && !each.getName().startsWith("#") && each.getScope?.() !== "private");
  return shown.flatMap((each) => {
    const optional = each.hasQuestionToken?.() ? "?" : "";
    const method = Node.isMethodSignature(each) || Node.isMethodDeclaration(each);
    const { parameters, result } = method ? call(each) : { parameters: "", result: "" };
    const written = method
      ? `${each.getName()}(${parameters}): ${result}`
      : `${each.getName()}${optional}: ${type(each)}`;
    const said = prose(each)
      .filter((line) => line !== "")
      .join("\n")
      .replaceAll("\n", "\n    ");
    return [
      `- \`${written.replace(/\s+/g, " ")}\`${said ? `\n\n    ${said.replace("\n    - ", "\n\n    - ")}` : ""}`,
      "",
    ];
  });
}
