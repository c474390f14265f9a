/** Added tokens: texts that are one token wherever they stand, found before the rest is tokenised. */

/** An entry of `added_tokens` of `tokenizer.json`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Not found inside a word. */
  readonly single_word?: boolean;
  /** Takes the white space before it. */
  readonly lstrip?: boolean;
  /** Takes the white space after it. */
  readonly rstrip?: boolean;
  /** Left out when ids become text. */
  readonly special?: boolean;
  /** Found in the normalised text, as its own content is normalised; by default, a token that is not special. */
  readonly normalized?: boolean;
}

/** Part of a text: an added token, or what is to be tokenised and where it starts. */
export type Section = AddedToken | { readonly text: string; readonly start: number };

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

/**
 * @param tokens - the added tokens to find; of two that fit, the longer one counts.
 * @param spelt - how a token looks in the texts that will be cut.
 * @returns a function that cuts a text into sections, none of them empty.
 */
export function sectionsOf(
  tokens: readonly AddedToken[],
  spelt: (token: AddedToken) => string,
): (text: string) => Section[] {
  const byText = new Map<string, AddedToken>();
  for (const token of tokens) {
    const text = spelt(token);
    if (text !== "" && !byText.has(text)) byText.set(text, token);
  }
  const longestFirst = [...byText.keys()].sort((a, b) => b.length - a.length);
  const pattern = byText.size > 0 ? new RegExp(longestFirst.map(escaped).join("|"), "gu") : undefined;

  return (text) => {
    const sections: Section[] = [];
    let done = 0;
    const rest = (end: number): void => {
      if (done < end) sections.push({ text: text.slice(done, end), start: done });
    };
    for (const match of pattern ? text.matchAll(pattern) : []) {
      const token = byText.get(match[0]);
      let start = match.index;
      let end = start + match[0].length;
      if (!token || (token.single_word && insideWord(text, start, end))) continue;
      if (token.lstrip) start = Math.max(done, start - spaceBefore(text.slice(0, start)));
      if (token.rstrip) end += spaceAfter(text.slice(end));
      rest(start);
      sections.push(token);
      done = end;
    }
    rest(text.length);
    return sections;
  };
}

const WORD = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d]";
const ENDS_WITH_WORD = new RegExp(`${WORD}$`, "u");
const STARTS_WITH_WORD = new RegExp(`^${WORD}`, "u");

const insideWord = (text: string, start: number, end: number): boolean =>
  ENDS_WITH_WORD.test(text.slice(0, start)) || STARTS_WITH_WORD.test(text.slice(end));

const spaceBefore = (text: string): number => /\p{White_Space}*$/u.exec(text)?.[0].length ?? 0;
const spaceAfter = (text: string): number => /^\p{White_Space}*/u.exec(text)?.[0].length ?? 0;
