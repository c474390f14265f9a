/** The decoding settings as one table; the page draws, checks and links all of them from it. */
import type { Decoding } from "../../engine/api";

/** What a setting's value may be. */
export type DecodingSetting = {
  readonly name: keyof Decoding;
  readonly title: string;
  /** A few words below the control. */
  readonly description: string;
} & (
  | {
      readonly type: "integer" | "number";
      readonly min: number;
      readonly max: number;
    }
  | { readonly type: "text" | "boolean" }
);

export const DECODING: readonly DecodingSetting[] = [
  {
    name: "maxNewTokens",
    type: "integer",
    min: 1,
    max: 4096,
    title: "Longest answer, in tokens",
    description: "",
  },
  {
    name: "temperature",
    type: "number",
    min: 0,
    max: 10,
    title: "Temperature",
    description: "0 always takes the likeliest token",
  },
  {
    name: "topP",
    type: "number",
    min: 0.01,
    max: 1,
    title: "Top p",
    description: "used if temperature is above 0",
  },
  {
    name: "seed",
    type: "integer",
    min: 0,
    max: 2 ** 31 - 1,
    title: "Seed",
    description: "the same seed gives the same answer",
  },
  {
    name: "textTokens",
    type: "integer",
    min: 1,
    max: 4096,
    title: "Tokens of a thought in text mode",
    description: "as many as latent steps by default",
  },
  {
    name: "answerPrefix",
    type: "text",
    title: "The answer begins with",
    description: "given to the agent, not decoded",
  },
  {
    name: "thinkBeforeAnswer",
    type: "boolean",
    title: "The last agent thinks before it answers",
    description: "",
  },
];

/** The settings that the visitor changed; null stands for the system's own value. */
export function chosenDecoding(
  state: { readonly [K in keyof Decoding]: Decoding[K] | null },
): Partial<Decoding> {
  const changed = DECODING.filter(({ name }) => state[name] !== null);
  return Object.fromEntries(changed.map(({ name }) => [name, state[name]]));
}
