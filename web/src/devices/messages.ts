/**
 * What two devices tell each other: one JSON header for each message, with snake_case keys as in files.
 *
 * The device that invited the others *leads*: it plans the run and asks the device that holds an agent for the agent's
 * turns. The others are *members*. Every message is checked against these schemas before anything else reads it.
 */
import * as v from "valibot";
import { EngineError, type StateDtype } from "../engine/api";
import { snakeise } from "../formats/camel";
import { FormatError } from "../formats/errors";
import { type Format, parseFile } from "../formats/format";
import type {
  SavedOptions,
  Step,
  StopReason,
  Token,
  TurnStart,
  TurnSummary,
} from "../formats/generated/types";
import { SAVED_OPTIONS, STEP, TOKEN, TURN_START, TURN_SUMMARY } from "../formats/generated/validators";
import { encodeFloats } from "../formats/matrix";
import type { HandoffHeader } from "./handoffs";

/** Devices of another version are refused. */
export const PROTOCOL = 1;

/** Who a device is, and which files it has. Each side begins with it. */
export interface Hello {
  readonly kind: "hello";
  readonly protocol: number;
  /** Stays the same while the tab lives, so that a device is known when it comes back. */
  readonly device: string;
  /** What people call the device. */
  readonly name: string;
  /** Its graphics card, for people. */
  readonly gpu: string;
  /** The sha256 of system.json. */
  readonly manifest: string;
  /** The sha256 of recursivelink.json. */
  readonly links: string;
}

/** An agent that is loaded on a device, and the dtype in which it reads hand-offs there. */
export interface HeldAgent {
  readonly id: string;
  readonly dtype: StateDtype;
}

/** A device's agents have changed. */
export interface Holds {
  readonly kind: "holds";
  readonly agents: readonly HeldAgent[];
}

/** The leader asks a member to hold these agents. */
export interface Assign {
  readonly kind: "assign";
  readonly agents: readonly string[];
}

/** The leader asks for a turn. The payload holds the hand-offs that arrive. */
export interface Turn {
  readonly kind: "turn";
  readonly id: number;
  readonly run: string;
  /** The turn's index in the run's plan. */
  readonly turn: number;
  readonly options: SavedOptions;
  readonly drawn: number;
  readonly calls: number;
  readonly handoffs: readonly HandoffHeader[];
  /** The dtypes of the receivers, for each edge that the turn sends over. */
  readonly sends: readonly { readonly edge: string; readonly dtype: StateDtype }[];
}

/** Something happened in a turn. */
export interface Happened {
  readonly kind: "event";
  readonly id: number;
  readonly event: TurnStart | Step | Token;
}

/** A turn has ended. The payload holds the hand-offs that it sends. */
export interface Done {
  readonly kind: "done";
  readonly id: number;
  readonly run: string;
  readonly turn: number;
  readonly summary: TurnSummary;
  readonly answer: {
    readonly text: string;
    readonly tokenIds: readonly number[];
    readonly stopReason: StopReason;
  } | null;
  readonly drawn: number;
  readonly calls: number;
  readonly handoffs: readonly HandoffHeader[];
}

/** A turn has failed. */
export interface Failed {
  readonly kind: "failed";
  readonly id: number;
  readonly code: string;
  readonly message: string;
}

/** The leader does not want a turn any more. */
export interface Stop {
  readonly kind: "stop";
  readonly id: number;
}

export type Message =
  | Hello
  | Holds
  | Assign
  | Turn
  | Happened
  | Done
  | Failed
  | Stop
  | { readonly kind: "ping" | "pong" }
  /** The sender closes the channel, and says why. */
  | { readonly kind: "bye"; readonly reason: string };

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const id = v.pipe(v.string(), v.regex(/^[\w-]{8,64}$/));
const agentId = v.pipe(v.string(), v.minLength(1), v.maxLength(160));
const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const line = (most: number) => v.pipe(v.string(), v.maxLength(most), v.regex(/^\P{C}*$/u));
const dtype = v.picklist(["float32", "float16"]);
const few = <T extends v.GenericSchema>(schema: T) => v.pipe(v.array(schema), v.maxLength(256));
const handoff = v.strictObject({
  run: id,
  edge: agentId,
  round: count,
  shape: v.pipe(
    v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(2 ** 26))),
    v.minLength(1),
    v.maxLength(2),
  ),
  dtype: v.picklist(["float32", "float16", "utf-8"]),
  sha256: digest,
});
const stopReason = v.picklist([
  "stop-token",
  "stop-string",
  "max-new-tokens",
  "max-tool-calls",
  "context-full",
] satisfies StopReason[]);

const MESSAGE: Format<Message> = {
  what: "message between devices",
  version: undefined,
  schema: v.variant("kind", [
    v.strictObject({
      kind: v.literal("hello"),
      protocol: count,
      device: id,
      name: line(40),
      gpu: line(200),
      manifest: digest,
      links: digest,
    }),
    v.strictObject({
      kind: v.literal("holds"),
      agents: few(v.strictObject({ id: agentId, dtype })),
    }),
    v.strictObject({ kind: v.literal("assign"), agents: few(agentId) }),
    v.strictObject({
      kind: v.literal("turn"),
      id: count,
      run: id,
      turn: count,
      options: SAVED_OPTIONS.schema,
      drawn: count,
      calls: count,
      handoffs: few(handoff),
      sends: few(v.strictObject({ edge: agentId, dtype })),
    }),
    v.strictObject({
      kind: v.literal("event"),
      id: count,
      event: v.union([TURN_START.schema, STEP.schema, TOKEN.schema]),
    }),
    v.strictObject({
      kind: v.literal("done"),
      id: count,
      run: id,
      turn: count,
      summary: TURN_SUMMARY.schema,
      answer: v.nullable(
        v.strictObject({ text: v.string(), token_ids: v.array(count), stop_reason: stopReason }),
      ),
      drawn: count,
      calls: count,
      handoffs: few(handoff),
    }),
    v.strictObject({
      kind: v.literal("failed"),
      id: count,
      code: v.pipe(v.string(), v.regex(/^[a-z-]{1,40}$/)),
      message: line(2000),
    }),
    v.strictObject({ kind: v.literal("stop"), id: count }),
    v.strictObject({ kind: v.literal("ping") }),
    v.strictObject({ kind: v.literal("pong") }),
    v.strictObject({ kind: v.literal("bye"), reason: line(500) }),
  ]) as v.GenericSchema<unknown, unknown>,
};

/** The messages that carry hand-offs. */
export const WITH_PAYLOAD: ReadonlySet<Message["kind"]> = new Set(["turn", "done"]);

/** @returns a message's header. */
export function printMessage(message: Message): string {
  return JSON.stringify(snakeise(message), (_, value) =>
    value instanceof Float32Array ? encodeFloats(value) : value,
  );
}

/** @throws EngineError `bad-peer` for anything that is no message. */
export function parseMessage(header: string): Message {
  try {
    return parseFile(header, "what the other device sent", MESSAGE);
  } catch (error) {
    throw error instanceof FormatError ? new EngineError("bad-peer", error.message.slice(0, 400)) : error;
  }
}

/** Makes a text fit for a line of a message: no control characters, and not too long. */
export function oneLine(text: string, most: number): string {
  const clean = text
    .replace(/\p{C}+/gu, " ")
    .trim()
    .slice(0, most);
  // The cut may have left half of a character.
  return clean.replace(/[\ud800-\udbff]$/, "");
}
