/** What decoding settings may be; generated/names.ts has the table. */
import { DECODING } from "./generated/names";
import type { AnswerRetry, Complete, Decoding } from "./generated/types";

const COMPLETE: readonly Complete[] = ["box", "choice", "code"];

/** The settings that have a control on the page. */
export type Controlled = Exclude<keyof Decoding, "stopStrings" | "answerRetry" | "maxToolCalls">;

/** A decoding setting, with its control on the page. */
export type DecodingSetting = {
  /** In TypeScript. */
  readonly name: Controlled;
  /** In files. */
  readonly key: string;
  readonly title: string;
  /** One sentence. */
  readonly description: string;
} & (
  | {
      readonly type: "integer" | "number";
      readonly nullable: boolean;
      /** If a system does not set it. */
      readonly default: number | null;
      /** The smallest value that is accepted. */
      readonly least?: number;
      /** Only values above it are accepted. */
      readonly above?: number;
      /** The greatest value that is accepted. */
      readonly most?: number;
      /** The control's smallest value. */
      readonly min: number;
      /** The control's greatest value. */
      readonly max: number;
    }
  | { readonly type: "text"; readonly default: string }
  | { readonly type: "boolean"; readonly default: boolean }
);

/** @returns what is wrong with complete decoding settings, in one line; undefined if nothing is. */
export function decodingProblem(decoding: Partial<Decoding>): string | undefined {
  for (const setting of DECODING) {
    const value: unknown = decoding[setting.name];
    if (!isValid(setting, value)) return `${setting.name} must be ${expected(setting)}, got ${value}`;
  }
  const { stopStrings = [], answerRetry = null, maxToolCalls = null } = decoding;
  const texts =
    Array.isArray(stopStrings) && stopStrings.every((each) => typeof each === "string" && each !== "");
  if (!texts) return `stopStrings must be a list of texts, none of them empty, got ${stopStrings}`;
  if (maxToolCalls !== null && !isCount(maxToolCalls))
    return `maxToolCalls must be a whole number from 0 on, or null, got ${maxToolCalls}`;
  return answerRetry === null ? undefined : retryProblem(answerRetry);
}

function retryProblem({ needs, append, maxNewTokens }: AnswerRetry): string | undefined {
  if (!COMPLETE.includes(needs))
    return `answerRetry.needs must be one of ${COMPLETE.join(", ")}, got ${needs}`;
  if (typeof append !== "string" || append === "")
    return `answerRetry.append must be a text that is not empty, got ${append}`;
  return isCount(maxNewTokens) && maxNewTokens > 0
    ? undefined
    : `answerRetry.maxNewTokens must be a whole number, at least 1, got ${maxNewTokens}`;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function isValid(setting: DecodingSetting, value: unknown): boolean {
  if (setting.type === "text") return typeof value === "string";
  if (setting.type === "boolean") return typeof value === "boolean";
  const { type, nullable, least = -Infinity, above = -Infinity, most = Infinity } = setting;
  if (value === null) return nullable;
  if (typeof value !== "number" || (type === "integer" && !Number.isSafeInteger(value))) return false;
  return value >= least && value > above && value <= most;
}

function expected(setting: DecodingSetting): string {
  if (setting.type === "text") return "a text";
  if (setting.type === "boolean") return "true or false";
  const { type, least, above, most } = setting;
  const kind = type === "integer" ? "a whole number " : "";
  if (least !== undefined && most !== undefined) return `${kind}from ${least} to ${most}`;
  const bounds = [
    least === undefined ? "" : `at least ${least}`,
    above === undefined ? "" : `above ${above}`,
    most === undefined ? "" : `at most ${most}`,
  ].filter((bound) => bound !== "");
  return bounds.length === 0
    ? kind.trim() || "a number"
    : `${kind && "a whole number, "}${bounds.join(" and ")}`;
}
