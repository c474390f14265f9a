/** One connection to another device: who it is, messages both ways, and whether it still answers. */
import { EngineError } from "../engine/api";
import type { Channel } from "./channel";
import {
  type Hello,
  type Message,
  oneLine,
  PROTOCOL,
  parseMessage,
  printMessage,
  WITH_PAYLOAD,
} from "./messages";
import { MOST_MESSAGE_BYTES, PacketReader, packetsOf } from "./packets";

type Bytes = Uint8Array<ArrayBuffer>;

/** How often each side says that it is there. */
export const PING_MS = 2000;
/** After so long without a word, the other device counts as silent. */
export const SILENT_MS = 8000;
/** How long the other device may take to say who it is. */
export const GREETING_MS = 20_000;
/** All that a message may have before the other device has said who it is. */
const GREETING_BYTES = 8192;
/** Answers to pings wait no more than this behind other messages. */
const MOST_WAITING = 64;
const NOTHING: Bytes = new Uint8Array();

/**
 * `greeting`: it has not said yet who it is. `silent`: it is connected, but has not said anything for a while. `closed`:
 * see `reason`.
 */
export type Health = "greeting" | "open" | "silent" | "closed";

/** What a connection tells its owner. */
export interface ConnectionHooks {
  /** The other device has the same files. */
  readonly onOpen: (peer: Hello) => void;
  /** @throws EngineError `bad-peer`, and the connection closes. */
  readonly onMessage: (message: Message, payload: Bytes) => void;
  /** `health`, the bytes or the reason have changed. */
  readonly onChange: () => void;
}

export class Connection {
  health: Health = "greeting";
  /** Who is there, once it has said so. */
  peer: Hello | undefined;
  /** Why it was closed, for people; undefined if the other device just went away. */
  reason: string | undefined;
  sentBytes = 0;
  receivedBytes = 0;
  readonly #reader = new PacketReader(GREETING_BYTES);
  readonly #timer: ReturnType<typeof setInterval>;
  #heard = performance.now();
  #sending: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(
    private readonly channel: Channel,
    private readonly me: Hello,
    private readonly hooks: ConnectionHooks,
  ) {
    channel.onPacket = (packet) => this.#receive(packet);
    channel.onClose = () => this.#end(undefined);
    this.#timer = setInterval(() => this.#beat(), PING_MS);
    this.send(me);
  }

  /** Sends a message after those before it. */
  send(message: Message, payload: Bytes = NOTHING): void {
    if (this.health === "closed") return;
    this.#waiting += 1;
    this.#sending = this.#sending.then(() => this.#send(message, payload));
  }

  /** Closes the connection, and tells the other device why. */
  close(reason: string): void {
    if (this.health === "closed") return;
    this.send({ kind: "bye", reason: oneLine(reason, 500) });
    const { channel } = this;
    void this.#sending.then(() => channel.close());
    this.#end(reason);
  }

  async #send(message: Message, payload: Bytes): Promise<void> {
    for (const packet of packetsOf({ header: printMessage(message), payload })) {
      await this.channel.ready();
      this.channel.send(packet);
      this.sentBytes += packet.byteLength;
    }
    this.#waiting -= 1;
    this.hooks.onChange();
  }

  #receive(packet: Bytes | undefined): void {
    if (this.health === "closed") return;
    this.#heard = performance.now();
    try {
      if (!packet) throw new EngineError("bad-peer", "the other device sent something that is no packet");
      this.receivedBytes += packet.byteLength;
      if (this.health === "silent") this.health = "open";
      const envelope = this.#reader.add(packet);
      if (envelope) this.#take(parseMessage(envelope.header), envelope.payload);
    } catch (error) {
      this.close(EngineError.from(error).message);
    }
    this.hooks.onChange();
  }

  #take(message: Message, payload: Bytes): void {
    if (payload.byteLength > 0 && !WITH_PAYLOAD.has(message.kind))
      throw new EngineError(
        "bad-peer",
        `the other device sent bytes with a message of kind '${message.kind}'`,
      );
    if (message.kind === "bye") {
      this.channel.close();
      this.#end(message.reason);
      return;
    }
    if (message.kind === "ping") {
      if (this.#waiting < MOST_WAITING) this.send({ kind: "pong" });
      return;
    }
    if (message.kind === "pong") return;
    if (!this.peer) {
      if (message.kind !== "hello")
        throw new EngineError("bad-peer", `the other device sent '${message.kind}' before it said who it is`);
      checkHello(message, this.me);
      this.peer = message;
      this.health = "open";
      this.#reader.most = MOST_MESSAGE_BYTES;
      this.hooks.onOpen(message);
      return;
    }
    if (message.kind === "hello") throw new EngineError("bad-peer", "the other device said twice who it is");
    this.hooks.onMessage(message, payload);
  }

  #beat(): void {
    const quiet = performance.now() - this.#heard;
    if (this.health === "greeting" && quiet > GREETING_MS) {
      this.close("the other device did not say who it is");
      this.hooks.onChange();
      return;
    }
    if (this.health === "open" && quiet > SILENT_MS) {
      this.health = "silent";
      this.hooks.onChange();
    }
    if (this.#waiting < MOST_WAITING) this.send({ kind: "ping" });
  }

  #end(reason: string | undefined): void {
    if (this.health === "closed") return;
    clearInterval(this.#timer);
    this.health = "closed";
    this.reason = reason;
    this.hooks.onChange();
  }
}

/** Only devices with the same files can share a run. */
function checkHello(peer: Hello, me: Hello): void {
  const differs = (what: string, theirs: unknown, ours: unknown, how: string): void => {
    if (theirs === ours) return;
    const short = (value: unknown): string =>
      typeof value === "string" ? `${value.slice(0, 12)}…` : String(value);
    throw new EngineError(
      "bad-peer",
      `the devices have ${what}: one has ${short(theirs)}, the other ${short(ours)}; ${how}`,
    );
  };
  differs("pages of different versions", peer.protocol, PROTOCOL, "reload the page on both");
  differs(
    "different systems",
    peer.manifest,
    me.manifest,
    "open the same system on both (the sha256 of system.json)",
  );
  differs(
    "different links",
    peer.links,
    me.links,
    "use the same recursivelink.json on both (its sha256 must be the same)",
  );
  if (peer.device === me.device)
    throw new EngineError(
      "bad-peer",
      "the invitation was opened on the device that made it; open it on another one",
    );
}
