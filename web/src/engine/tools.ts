/**
 * Tools that the deciding agent calls by tag while it decodes: `<calculator>6 * 5</calculator>`.
 *
 * Source: docs/recursion.md, rule 8. The twin of training/recursivemas/training/tools.py;
 * tests/fixtures/calculator_cases.json is run against both. Arithmetic is exact, in fractions of whole numbers.
 */
import type { ToolCall } from "./types";

const LONGEST_EXPRESSION = 200;
const LARGEST_EXPONENT = 64n;
const LARGEST_MAGNITUDE = 10n ** 50n;
/** Digits of a value whose decimals do not end, as Python's `.12g` shows it. */
const SHOWN_DIGITS = 12;

/**
 * @param text - what the agent has written so far.
 * @param tools - names of the tools it may call.
 * @returns the call that `text` ends with; undefined when it ends with none.
 */
export function findCall(
  text: string,
  tools: readonly string[],
): Pick<ToolCall, "tool" | "input"> | undefined {
  const found = /<(calculator|search)>([^<>]*)<\/\1>\s*$/.exec(text);
  const [, tool, input] = found ?? [];
  return tool === undefined || input === undefined || !tools.includes(tool) ? undefined : { tool, input };
}

/** A whole number or a fraction in lowest terms; `below` is positive. */
interface Fraction {
  readonly above: bigint;
  readonly below: bigint;
}

/** The value of an arithmetic expression as text, or `error: …`. Knows numbers, + - * / ** (also ^) and brackets. */
export function calculate(expression: string): string {
  const text = expression.trim();
  if ([...text].length > LONGEST_EXPRESSION) return `error: longer than ${LONGEST_EXPRESSION} characters`;
  try {
    return shown(new Parser(text).parse());
  } catch (error) {
    if (error instanceof DivisionByZero) return "error: division by zero";
    if (error instanceof NotArithmetic) return "error: not an arithmetic expression";
    throw error;
  }
}

class NotArithmetic extends Error {}
class DivisionByZero extends Error {}

/** Recursive descent with Python's precedence: brackets, **, signs, * and /, + and -. */
class Parser {
  readonly #tokens: readonly string[];
  #next = 0;

  constructor(text: string) {
    const tokens = text.match(/(\d+(_\d+)*\.?\d*|\.\d+)(e[+-]?\d+)?|\*\*|[-+*/^()]|\S/gi) ?? [];
    this.#tokens = tokens.map((token) => (token === "^" ? "**" : token));
  }

  parse(): Fraction {
    const value = this.#sum();
    if (this.#next < this.#tokens.length) throw new NotArithmetic();
    return value;
  }

  #take(...wanted: readonly string[]): string | undefined {
    const token = this.#tokens[this.#next];
    if (token === undefined || !wanted.includes(token)) return undefined;
    this.#next += 1;
    return token;
  }

  #sum(): Fraction {
    let value = this.#product();
    for (let sign = this.#take("+", "-"); sign; sign = this.#take("+", "-")) {
      const right = this.#product();
      value = add(value, sign === "+" ? right : negate(right));
    }
    return value;
  }

  #product(): Fraction {
    let value = this.#signed();
    for (let sign = this.#take("*", "/"); sign; sign = this.#take("*", "/")) {
      const right = this.#signed();
      value = multiply(value, sign === "*" ? right : invert(right));
    }
    return value;
  }

  #signed(): Fraction {
    const sign = this.#take("+", "-");
    if (sign === undefined) return this.#power();
    const value = this.#signed();
    return sign === "-" ? negate(value) : value;
  }

  #power(): Fraction {
    const base = this.#atom();
    return this.#take("**") ? power(base, this.#signed()) : base;
  }

  #atom(): Fraction {
    if (this.#take("(")) {
      const value = this.#sum();
      if (!this.#take(")")) throw new NotArithmetic();
      return value;
    }
    const token = this.#tokens[this.#next];
    if (token === undefined || !/^[.\d]/.test(token)) throw new NotArithmetic();
    this.#next += 1;
    return number(token.replaceAll("_", ""));
  }
}

/** Whole numbers exactly; others as the shortest decimal that gives the same float64, as Python reads them. */
function number(token: string): Fraction {
  if (/^\d+$/.test(token)) {
    // Python refuses 007.
    if (/^0+[1-9]/.test(token)) throw new NotArithmetic();
    return fraction(BigInt(token), 1n);
  }
  const value = Number(token);
  if (!Number.isFinite(value)) throw new NotArithmetic();
  const [digits = "0", exponent = "0"] = value.toExponential().split("e");
  const [whole = "0", decimals = ""] = digits.split(".");
  const shift = BigInt(Number(exponent) - decimals.length);
  const mantissa = BigInt(whole + decimals);
  return shift >= 0n ? fraction(mantissa * 10n ** shift, 1n) : fraction(mantissa, 10n ** -shift);
}

function fraction(above: bigint, below: bigint): Fraction {
  if (below === 0n) throw new DivisionByZero();
  const sign = below < 0n ? -1n : 1n;
  const shared = divisor(above, below) * sign;
  const value = { above: above / shared, below: below / shared };
  const magnitude = value.above < 0n ? -value.above : value.above;
  if (magnitude > LARGEST_MAGNITUDE * value.below || value.below > LARGEST_MAGNITUDE)
    throw new NotArithmetic();
  return value;
}

/** Greatest common divisor, positive. */
function divisor(a: bigint, b: bigint): bigint {
  let [x, y] = [a, b];
  while (y !== 0n) [x, y] = [y, x % y];
  return x < 0n ? -x : x;
}

const add = (a: Fraction, b: Fraction): Fraction =>
  fraction(a.above * b.below + b.above * a.below, a.below * b.below);
const negate = (a: Fraction): Fraction => ({ above: -a.above, below: a.below });
const multiply = (a: Fraction, b: Fraction): Fraction => fraction(a.above * b.above, a.below * b.below);
const invert = (a: Fraction): Fraction => fraction(a.below, a.above);

function power(base: Fraction, exponent: Fraction): Fraction {
  const { above, below } = exponent;
  if (below !== 1n || above > LARGEST_EXPONENT || above < -LARGEST_EXPONENT) throw new NotArithmetic();
  return above >= 0n
    ? fraction(base.above ** above, base.below ** above)
    : power(invert(base), negate(exponent));
}

/** Whole numbers in full, others as Python's `.12g`: rounded half to even, without trailing zeros. */
function shown({ above, below }: Fraction): string {
  if (below === 1n) return String(above);
  const sign = above < 0n ? "-" : "";
  const size = above < 0n ? -above : above;
  let exponent = Number((Number(size) / Number(below)).toExponential().split("e")[1]);
  let digits = scaled(size, below, SHOWN_DIGITS - 1 - exponent);
  if (digits >= 10n ** BigInt(SHOWN_DIGITS)) {
    exponent += 1;
    digits /= 10n;
  }
  const text = String(digits);
  const trim = (decimals: string): string => decimals.replace(/0+$/, "").replace(/^(?=.)/, ".");
  if (exponent < -4 || exponent >= SHOWN_DIGITS) {
    const power = `${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
    return `${sign}${text.charAt(0)}${trim(text.slice(1))}e${power}`;
  }
  if (exponent < 0) return `${sign}0${trim("0".repeat(-exponent - 1) + text)}`;
  return `${sign}${text.slice(0, exponent + 1)}${trim(text.slice(exponent + 1))}`;
}

/** above / below · 10^shift to the nearest whole number, ties to even. */
function scaled(above: bigint, below: bigint, shift: number): bigint {
  const power = 10n ** BigInt(Math.abs(shift));
  const [numerator, denominator] = shift >= 0 ? [above * power, below] : [above, below * power];
  const whole = numerator / denominator;
  const rest = 2n * (numerator % denominator);
  return rest > denominator || (rest === denominator && whole % 2n === 1n) ? whole + 1n : whole;
}
