/**
 * Rewrites steps of `tokenizer.json` that Hugging Face's JavaScript library computes differently from its Rust library
 * as steps that both compute alike: nearly all become `Split` or `Replace` with a regular expression.
 */

/** One step: its `type`, and the keys of that type. */
export interface Step {
  readonly type: string;
  readonly [key: string]: unknown;
}

type Rewrite = (step: Step) => Step | Step[];

const ANY = "[\\s\\S]";
const PUNCTUATION = "[!-/:-@\\[-`{-~\\p{P}]";
const IDEOGRAPH =
  "[\\u4E00-\\u9FFF\\u3400-\\u4DBF\\uF900-\\uFAFF\\x{20000}-\\x{2A6DF}\\x{2A700}-\\x{2B81F}\\x{2B920}-\\x{2CEAF}\\x{2F800}-\\x{2FA1F}]";
/** How GPT-2 splits text into words. */
const WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const replace = (regex: string, content: string): Step => ({
  type: "Replace",
  pattern: { Regex: regex },
  content,
});

const split = (regex: string, behavior: string, invert = false): Step => {
  const merged = {
    Contiguous: `(?:${regex})+`,
    MergedWithPrevious: `(?:(?!${regex})${ANY})*(?:${regex})`,
    MergedWithNext: `(?:${regex})(?:(?!${regex})${ANY})*`,
  }[behavior];
  if (merged !== undefined && !invert) return split(merged, "Isolated");
  return { type: "Split", pattern: { Regex: regex }, behavior, invert: invert && behavior !== "Isolated" };
};

/** A pattern as a regular expression; the library splits differently at a plain string. */
const regexOf = (pattern: unknown): string => {
  const { Regex, String: plain } = pattern as { Regex?: string; String?: string };
  return Regex ?? (plain ?? "").replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
};

/** The library takes `$` in the content for a reference to the match. */
const withLiteralContent: Rewrite = (step) => ({
  ...step,
  content: String(step.content ?? "").replaceAll("$", "$$$$"),
});

const NORMALIZERS: Record<string, Rewrite> = {
  Replace: withLiteralContent,
  // The library's own trims U+FEFF too.
  Strip: (step) => [
    ...(step.strip_left ? [replace("\\A\\s+", "")] : []),
    ...(step.strip_right ? [replace("\\s+\\z", "")] : []),
  ],
  BertNormalizer: (step) => [
    ...(step.clean_text
      ? [replace("(?![\\t\\n\\r])[\\p{Cc}\\p{Cf}\\p{Co}\\x{FFFD}]", ""), replace("\\s", " ")]
      : []),
    ...(step.handle_chinese_chars ? [replace(IDEOGRAPH, " $& ")] : []),
    ...((step.strip_accents ?? step.lowercase) ? [{ type: "NFD" }, replace("\\p{Mn}", "")] : []),
    ...(step.lowercase ? [{ type: "Lowercase" }] : []),
  ],
};

const PRE_TOKENIZERS: Record<string, Rewrite> = {
  Replace: withLiteralContent,
  Split: (step) => split(regexOf(step.pattern), String(step.behavior), Boolean(step.invert)),
  ByteLevel: (step) => [
    ...(step.add_prefix_space ? [{ type: "Metaspace", replacement: " ", prepend_scheme: "always" }] : []),
    ...((step.use_regex ?? true) ? [split(WORDS, "Isolated")] : []),
    { type: "ByteLevel", add_prefix_space: false, use_regex: false },
  ],
  Metaspace: (step) => [
    {
      ...step,
      prepend_scheme: step.add_prefix_space === false ? "never" : (step.prepend_scheme ?? "always"),
    },
    ...((step.split ?? true) ? [split(regexOf({ String: step.replacement }), "MergedWithNext")] : []),
  ],
  Digits: (step) => split(step.individual_digits ? "\\p{N}" : "\\p{N}+", "Isolated"),
  Punctuation: (step) => split(PUNCTUATION, String(step.behavior ?? "Isolated")),
  Whitespace: () => split("\\w+|[^\\w\\s]+", "Removed", true),
  WhitespaceSplit: () => split("\\s+", "Removed"),
  CharDelimiterSplit: (step) => split(regexOf({ String: step.delimiter }), "Removed"),
  BertPreTokenizer: () => [split("\\s+", "Removed"), split(PUNCTUATION, "Isolated")],
  FixedLength: (step) => split(`${ANY}{1,${step.length}}`, "Isolated"),
};

/** @returns what a table has under a name of a file, which may be called `constructor`. */
export function ownOf<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

function rewrite(step: Step | null | undefined, key: string, rewrites: Record<string, Rewrite>): Step | null {
  if (!step) return null;
  const inner = step.type === "Sequence" ? (step[key] as Step[]) : [step];
  if (inner.some(({ type }) => typeof type !== "string")) throw new Error(`one of its ${key} has no type`);
  const steps = inner.flatMap((each) =>
    each.type === "Sequence"
      ? (rewrite(each, key, rewrites) ?? [])
      : (ownOf(rewrites, each.type)?.(each) ?? each),
  );
  return { type: "Sequence", [key]: steps };
}

/** The normaliser of `tokenizer.json`, as the library should get it. */
export const normalizerSteps = (step: Step | null | undefined): Step | null =>
  rewrite(step, "normalizers", NORMALIZERS);

/** The pre-tokenizer of `tokenizer.json`, as the library should get it. */
export const preTokenizerSteps = (step: Step | null | undefined): Step | null =>
  rewrite(step, "pretokenizers", PRE_TOKENIZERS);
