/** Damage to files: bytes that are flipped, cut, repeated or put in; values of JSON that are replaced, removed or doubled. */
import fc from "fast-check";

/** A kind of change, a place and what is put there; numbers that are taken modulo what there is. */
export type Change = readonly [kind: number, where: number, what: number];

const LONG = "a".repeat(300);

/** Values that readers tend to take for something else. */
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  -1,
  1,
  2 ** 31,
  2 ** 53 + 2,
  1e15,
  1e300,
  0.5,
  "",
  " ",
  "a",
  "0",
  "constructor",
  "__proto__",
  "toString",
  "../x",
  " //host/x",
  "%2e%2e/x",
  "a%x",
  "a\\b",
  "a\0b",
  "a\nb",
  "\ud800",
  "é",
  "\u202e",
  LONG,
  "{question}",
  "{latent:a->b}",
  "{if a}",
  "<b>x</b>",
  "(",
  "[z-a]",
  "a{2,1}",
  "$&",
  "https://host/x",
  "http://[",
  "NaN",
  [],
  {},
  [[]],
  [null],
  [1, "a"],
  { a: 1 },
  { "": {} },
  { length: 3 },
  [[[[[[[[]]]]]]]],
  Array.from({ length: 100 }, () => "a"),
];

/** Bytes that are put in. */
const TOKENS: readonly Buffer[] = [
  ..."{}[]\"\\:,-+*/^()<>@?&#%=|~.'`$ \n\r\t\0",
  "\u00ff",
  "\ufeff",
  "\u2028",
  "\ud83d",
  "\\u0000",
  "\\ud800",
  "NaN",
  "Infinity",
  "1e999",
  "9".repeat(400),
  "[".repeat(3000),
  '{"a":'.repeat(300),
  "(".repeat(300),
  "{if a}".repeat(300),
  "{if a = b}",
  "{else}",
  "{end}",
  "{{",
  "}}",
  "<calculator>",
  "</calculator>",
  "<search>",
  "\\boxed{",
  "\\frac",
  "\\sqrt[",
  "√",
  "**",
  "e308",
  "a>b ",
  "@9",
  "&q=",
  "&prompt.constructor=",
  "&field.__proto__=",
  "&off=",
  "?system=",
  "folder:",
  "javascript:",
]
  .map((text) => Buffer.from(text))
  .concat([Buffer.of(0xff), Buffer.of(0xed, 0xa0, 0x80), Buffer.alloc(8, 0xff), Buffer.of(0x80, 0x80, 0x80)]);

const number = fc.nat(2 ** 20);

/** One to four changes; fast-check prefers few and small ones when it looks for the smallest input. */
export const changes = fc.array(fc.tuple(number, number, number), { minLength: 1, maxLength: 4 });

/** @returns a file with changes. */
export function changed(content: Buffer, all: readonly Change[]): Buffer {
  return all.reduce(
    (now, change) => (change[0] % 2 === 1 ? changedValue(now, change) : changedBytes(now, change)),
    content,
  );
}

function changedBytes(content: Buffer, [kind, where, what]: Change): Buffer {
  const at = where % (content.length + 1);
  const end = Math.min(content.length, at + 1 + (what % 64));
  const before = content.subarray(0, at);
  switch (Math.floor(kind / 2) % 5) {
    case 0:
      return Buffer.concat([
        before,
        Buffer.of((content[at] ?? 0) ^ (1 << (what % 8))),
        content.subarray(at + 1),
      ]);
    case 1:
      return Buffer.concat([before, content.subarray(end)]);
    case 2:
      return Buffer.concat([before, TOKENS[what % TOKENS.length] ?? Buffer.of(), content.subarray(at)]);
    case 3:
      return Buffer.concat([content.subarray(0, end), content.subarray(at)]);
    default:
      return before;
  }
}

type Holder = Record<string, unknown> | unknown[];

/** Every place of a value in a parsed file. */
function* places(tree: unknown): Generator<readonly [Holder, string], undefined> {
  if (typeof tree !== "object" || tree === null) return;
  for (const [key, value] of Object.entries(tree)) {
    yield [tree as Holder, key];
    yield* places(value);
  }
}

/** One value of a JSON file is replaced, removed or given another key. */
function changedValue(content: Buffer, [kind, where, what]: Change): Buffer {
  let tree: unknown;
  try {
    tree = JSON.parse(content.toString());
  } catch {
    return changedBytes(content, [kind + 3, where, what]);
  }
  const all = [...places(tree)];
  const value = VALUES[what % VALUES.length];
  const [holder, key] = all[where % Math.max(1, all.length)] ?? [];
  if (holder === undefined || key === undefined) return Buffer.from(JSON.stringify(value));
  const [one, other] = [holder as Record<string, unknown>, Math.floor(kind / 2) % 3];
  if (other === 0) set(one, key, value);
  else if (other === 1 && Array.isArray(holder)) holder.splice(Number(key), 1);
  else if (other === 1) delete one[key];
  else if (Array.isArray(holder)) holder.splice(Number(key), 0, value);
  else set(one, typeof value === "string" ? value : "more", one[key]);
  return Buffer.from(JSON.stringify(tree));
}

/** As parsing does, so that a key may be called `__proto__`. */
function set(holder: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true });
}
