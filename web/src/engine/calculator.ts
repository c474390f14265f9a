/**
 * The calculator, a tool: exact arithmetic of numbers, + - * / ** (also ^) and brackets.
 *
 * Source: docs/recursion.md, rule 8. The counterpart of training/recursivemas/training/tools.py; both are tested with
 * tests/fixtures/calculator_cases.json.
 */
import Fraction from "fraction.js";

const LONGEST_EXPRESSION = 200;
const LARGEST_EXPONENT = 64;
const LARGEST_MAGNITUDE = new Fraction(10n ** 50n);
/** Significant digits of a value that is no whole number, as in Python's `.12g`. */
const SHOWN_DIGITS = 12;

/** @returns the value of an expression as text, or `error: …`. */
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

/** A recursive descent parser with Python's precedence: brackets, **, signs, * and /, + and -. */
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
      value = bounded(sign === "+" ? value.add(right) : value.sub(right));
    }
    return value;
  }

  #product(): Fraction {
    let value = this.#signed();
    for (let sign = this.#take("*", "/"); sign; sign = this.#take("*", "/")) {
      const right = this.#signed();
      value = bounded(sign === "*" ? value.mul(right) : divide(value, right));
    }
    return value;
  }

  #signed(): Fraction {
    const sign = this.#take("+", "-");
    if (sign === undefined) return this.#power();
    const value = this.#signed();
    return sign === "-" ? value.neg() : value;
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

/** Whole numbers are exact; others are the shortest decimal that gives the same float64, as in Python. */
function number(token: string): Fraction {
  // Python refuses 007.
  if (/^0+[1-9]\d*$/.test(token)) throw new NotArithmetic();
  if (/^\d+$/.test(token)) return bounded(new Fraction(BigInt(token)));
  const value = Number(token);
  if (!Number.isFinite(value)) throw new NotArithmetic();
  const [digits = "", exponent = ""] = value.toExponential().split("e");
  return bounded(new Fraction(digits).mul(new Fraction(10).pow(exponent)));
}

function bounded(value: Fraction): Fraction {
  if (value.abs().compare(LARGEST_MAGNITUDE) > 0 || LARGEST_MAGNITUDE.compare(value.d) < 0)
    throw new NotArithmetic();
  return value;
}

function divide(above: Fraction, below: Fraction): Fraction {
  if (below.n === 0n) throw new DivisionByZero();
  return above.div(below);
}

function power(base: Fraction, exponent: Fraction): Fraction {
  if (exponent.d !== 1n || exponent.abs().compare(LARGEST_EXPONENT) > 0) throw new NotArithmetic();
  return bounded((exponent.s < 0n ? divide(new Fraction(1), base) : base).pow(exponent.abs()));
}

/** Whole numbers in full; others as in Python's `.12g`, without trailing zeros. */
function shown(value: Fraction): string {
  if (value.d === 1n) return value.toString();
  const [mantissa, exponent] = rounded(nearest(value));
  const trim = (text: string): string => text.replace(/\.?0+$/, "");
  if (exponent < -4 || exponent >= SHOWN_DIGITS) {
    const power = String(Math.abs(exponent)).padStart(2, "0");
    return `${trim(mantissa)}e${exponent < 0 ? "-" : "+"}${power}`;
  }
  const decimals = SHOWN_DIGITS - 1 - exponent;
  const fixed = Number(`${mantissa}e${exponent}`).toFixed(decimals);
  return decimals > 0 ? trim(fixed) : fixed;
}

/** The nearest float64. `valueOf` divides two rounded numbers, and so may miss it. */
function nearest({ s, n, d }: Fraction): number {
  return Number(`${(s * n * 10n ** 100n) / d}e-100`);
}

/** @returns the mantissa of `SHOWN_DIGITS` digits and the exponent; ties go to the even digit. */
function rounded(value: number): [mantissa: string, exponent: number] {
  // JavaScript rounds a tie up. 100 digits show every tie as a 5 and zeros.
  const tie = /^(-?\d\.\d*)50*e([-+]\d+)$/.exec(value.toExponential(100));
  const [, down = "", power = ""] = tie ?? [];
  const even = /[02468]$/.test(down) && down.replace("-", "").length === SHOWN_DIGITS + 1;
  const [mantissa = "", exponent] = even ? [down, power] : value.toExponential(SHOWN_DIGITS - 1).split("e");
  return [mantissa, Number(exponent)];
}
