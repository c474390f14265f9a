/**
 * Messages as packets of a data channel.
 *
 * A message is the length of its header (4 bytes, little-endian), the header as JSON in UTF-8, and a payload. Browsers
 * send at most so much at once, so it travels in packets: one byte, 1 if more of the message follows and 0 if not, and
 * then a piece. Whatever a peer sends, no more than the agreed bytes are ever kept.
 */
import { EngineError } from "../engine/api";

type Bytes = Uint8Array<ArrayBuffer>;

/** A packet with its first byte. Every browser takes that much at once. */
export const PACKET_BYTES = 16 * 1024;
/** The most bytes of a header: a long question, or a turn with its trace. */
export const MOST_HEADER_BYTES = 4 * 1024 * 1024;
/** The most bytes of a message: 1024 thoughts of an agent with hidden size 8192 in float32, twice. */
export const MOST_MESSAGE_BYTES = 72 * 1024 * 1024;

const LENGTH_BYTES = 4;

/** What travels: a header as JSON, and bytes. */
export interface Envelope {
  readonly header: string;
  readonly payload: Bytes;
}

/** @returns the packets of a message, in order. */
export function packetsOf({ header, payload }: Envelope): Bytes[] {
  const text = new TextEncoder().encode(header);
  const message = new Uint8Array(LENGTH_BYTES + text.byteLength + payload.byteLength);
  new DataView(message.buffer).setUint32(0, text.byteLength, true);
  message.set(text, LENGTH_BYTES);
  message.set(payload, LENGTH_BYTES + text.byteLength);
  const packets: Bytes[] = [];
  for (let at = 0; at < message.byteLength; at += PACKET_BYTES - 1) {
    const piece = message.subarray(at, at + PACKET_BYTES - 1);
    const packet = new Uint8Array(1 + piece.byteLength);
    packet[0] = at + piece.byteLength < message.byteLength ? 1 : 0;
    packet.set(piece, 1);
    packets.push(packet);
  }
  return packets;
}

/** Puts packets together again. */
export class PacketReader {
  #pieces: Bytes[] = [];
  #bytes = 0;

  /** @param most - bytes of a message. It is small until the other device has said who it is. */
  constructor(public most: number) {}

  /**
   * @returns the message that this packet completes.
   * @throws EngineError `bad-peer`; nothing of the message is kept then.
   */
  add(packet: Bytes): Envelope | undefined {
    const more = packet[0];
    const size = this.#bytes + packet.byteLength - 1;
    if (more === undefined || more > 1 || (more === 1 && packet.byteLength === 1)) {
      this.#take();
      throw bad("a packet must begin with 0 or 1, and with 1 have more bytes");
    }
    if (size > this.most) {
      this.#take();
      throw bad(`a message may have ${this.most} bytes here, it has more`);
    }
    this.#pieces.push(packet.subarray(1));
    this.#bytes = size;
    return more === 1 ? undefined : split(this.#take());
  }

  #take(): Bytes {
    const message = new Uint8Array(this.#bytes);
    let at = 0;
    for (const piece of this.#pieces) {
      message.set(piece, at);
      at += piece.byteLength;
    }
    this.#pieces = [];
    this.#bytes = 0;
    return message;
  }
}

function split(message: Bytes): Envelope {
  const length =
    message.byteLength < LENGTH_BYTES ? undefined : new DataView(message.buffer).getUint32(0, true);
  if (length === undefined || length > MOST_HEADER_BYTES || LENGTH_BYTES + length > message.byteLength)
    throw bad("the length of a message's header is wrong");
  let header: string;
  try {
    header = new TextDecoder("utf-8", { fatal: true }).decode(
      message.subarray(LENGTH_BYTES, LENGTH_BYTES + length),
    );
  } catch {
    throw bad("a message's header is not UTF-8");
  }
  return { header, payload: message.slice(LENGTH_BYTES + length) };
}

function bad(problem: string): EngineError {
  return new EngineError("bad-peer", `the other device broke the protocol: ${problem}`);
}
