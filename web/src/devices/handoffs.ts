/**
 * Hand-offs as bytes: R_out(R_in(H)) in the receiver's dtype, or a text, with a header that says what it is.
 *
 * The receiver of a hand-off knows from the run's plan what must come. Anything else is refused.
 */
import {
  bytesToFloat,
  type Carried,
  EngineError,
  floatToBytes,
  type PlannedEdge,
  type StateDtype,
  sha256,
} from "../engine/api";

type Bytes = Uint8Array<ArrayBuffer>;

/** What stands before the bytes of a hand-off. */
export interface HandoffHeader {
  /** The run that it belongs to. */
  readonly run: string;
  readonly edge: string;
  /** Counted from 0: the round in which it was sent. */
  readonly round: number;
  /** (M, D_target); of a text, its bytes. */
  readonly shape: readonly number[];
  readonly dtype: StateDtype | "utf-8";
  /** Of the bytes. */
  readonly sha256: string;
}

/** A hand-off as it travels. */
export interface PackedHandoff {
  readonly header: HandoffHeader;
  readonly bytes: Bytes;
}

/** What the plan says about a hand-off. */
export interface ExpectedHandoff {
  readonly run: string;
  readonly edge: PlannedEdge;
  readonly round: number;
  /** (M, D_target) in latent mode; undefined in text mode. */
  readonly shape: readonly [number, number] | undefined;
  /** The receiver's. */
  readonly dtype: StateDtype;
}

/** The most bytes of a text that an agent hands over. */
const MOST_TEXT_BYTES = 1024 * 1024;

/** @returns the header and the little-endian, row-major bytes. */
export async function packHandoff(carried: Carried, expected: ExpectedHandoff): Promise<PackedHandoff> {
  const { run, edge, round } = expected;
  const named = { run, edge: edge.id, round };
  if ("text" in carried) {
    const bytes = new TextEncoder().encode(carried.text);
    const header = { ...named, shape: [bytes.byteLength], dtype: "utf-8" as const };
    return { header: { ...header, sha256: await sha256(bytes) }, bytes };
  }
  const { rows, columns, data } = carried.rows;
  const bytes = floatToBytes(new Float32Array(data), expected.dtype);
  const header = { ...named, shape: [rows, columns], dtype: expected.dtype };
  return { header: { ...header, sha256: await sha256(bytes) }, bytes };
}

/**
 * Checks a hand-off against the plan and its own sha256.
 *
 * @throws EngineError `bad-peer`: what was expected, what came.
 */
export async function unpackHandoff(
  { header, bytes }: PackedHandoff,
  expected: ExpectedHandoff,
): Promise<Carried> {
  const { edge, shape } = expected;
  const where = `the hand-off over '${edge.id}'`;
  const check = (what: string, came: unknown, wanted: unknown): void => {
    if (String(came) !== String(wanted)) throw bad(`${where} has ${what} ${came}, expected ${wanted}`);
  };
  check("the run", header.run, expected.run);
  check("the edge", header.edge, edge.id);
  check("the round", header.round + 1, expected.round + 1);
  check("the dtype", header.dtype, shape ? expected.dtype : "utf-8");
  if (shape) check("the shape", `(${header.shape.join(", ")})`, `(${shape.join(", ")})`);
  check("the number of bytes", bytes.byteLength, byteLength(header));
  if (!shape && bytes.byteLength > MOST_TEXT_BYTES)
    throw bad(`${where} has a text of ${bytes.byteLength} bytes, expected at most ${MOST_TEXT_BYTES}`);
  check("the sha256", header.sha256, await sha256(bytes));
  if (!shape) return { text: readText(bytes, where) };
  const data = bytesToFloat(bytes, expected.dtype);
  if (!data.every(Number.isFinite)) throw bad(`${where} holds NaN or infinity`);
  return { rows: { rows: shape[0], columns: shape[1], data } };
}

/** How many bytes follow a header, by what it says itself. */
export function byteLength({ shape, dtype }: Pick<HandoffHeader, "shape" | "dtype">): number {
  const itemBytes = dtype === "float32" ? 4 : dtype === "float16" ? 2 : 1;
  return shape.reduce((product, each) => product * each, itemBytes);
}

/**
 * Cuts a message's payload into its hand-offs.
 *
 * @throws EngineError `bad-peer` if the headers speak of more or fewer bytes.
 */
export function splitPayload(headers: readonly HandoffHeader[], payload: Bytes): readonly PackedHandoff[] {
  const sizes = headers.map(byteLength);
  const total = sizes.reduce((sum, each) => sum + each, 0);
  if (total !== payload.byteLength)
    throw bad(`its hand-offs have ${payload.byteLength} bytes, their headers speak of ${total}`);
  let at = 0;
  return headers.map((header, index) => {
    const size = sizes[index] as number;
    at += size;
    return { header, bytes: payload.slice(at - size, at) };
  });
}

/** @returns the bytes of several hand-offs, one after another. */
export function joinPayload(handoffs: readonly PackedHandoff[]): Bytes {
  const payload = new Uint8Array(handoffs.reduce((sum, { bytes }) => sum + bytes.byteLength, 0));
  let at = 0;
  for (const { bytes } of handoffs) {
    payload.set(bytes, at);
    at += bytes.byteLength;
  }
  return payload;
}

function readText(bytes: Bytes, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw bad(`${where} holds a text that is not UTF-8`);
  }
}

function bad(problem: string): EngineError {
  return new EngineError("bad-peer", `the other device sent what does not fit: ${problem}`);
}
