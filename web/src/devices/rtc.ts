/** Data channels between two browsers over WebRTC, paired by codes. WebRTC encrypts them. */
import { EngineError } from "../engine/api";
import type { Channel } from "./channel";
import { type CodeKind, codeOf, parseCode, printCode, sdpOf } from "./code";
import { PACKET_BYTES } from "./packets";

/** Addresses that were not found by then are left out: a STUN server may not answer. */
const GATHERING_MS = 4000;
/** Packets wait while so much is still to be sent. */
const MOST_BUFFERED_BYTES = 64 * PACKET_BYTES;
const CHANNEL = "recursivemas";
const STUN = /^stuns?:[\w.-]{1,253}(:\d{1,5})?$/;

/** An invitation that waits for its reply. */
export interface Invitation {
  readonly code: string;
  /**
   * Takes the code that the invited device shows.
   *
   * @returns the channel, once it is open.
   * @throws EngineError `bad-peer` for a code that cannot be read; another one may then be tried.
   */
  accept(reply: string): Promise<Channel>;
  cancel(): void;
}

/** The invited side: a reply that waits to be carried back. */
export interface Reply {
  readonly code: string;
  /** Resolves once the device that invited has taken the reply. */
  readonly channel: Promise<Channel>;
  cancel(): void;
}

/**
 * @param stun - the address of a STUN server, `stun:host:port`; empty: none, and devices find each other only within
 *   one network.
 * @throws EngineError `bad-option` for another address, `bad-peer` if the browser has no WebRTC or finds no address.
 */
export async function invite(stun: string): Promise<Invitation> {
  const peer = open(stun);
  const data = peer.createDataChannel(CHANNEL);
  const channel = opened(peer, data);
  channel.catch(() => {});
  const code = await describe(peer, "invitation");
  return {
    code,
    accept: async (reply) => {
      const sdp = sdpOf(parseCode(reply, "reply"));
      await peer.setRemoteDescription({ type: "answer", sdp }).catch((error: unknown) => {
        throw EngineError.from(error, "bad-peer");
      });
      return await channel;
    },
    cancel: () => peer.close(),
  };
}

/**
 * Answers an invitation.
 *
 * @param code - the invitation, or a link with it.
 * @throws EngineError as `invite`, and `bad-peer` for a code that cannot be read.
 */
export async function join(code: string, stun: string): Promise<Reply> {
  const sdp = sdpOf(parseCode(code, "invitation"));
  const peer = open(stun);
  const channel = new Promise<Channel>((resolve, reject) => {
    peer.ondatachannel = ({ channel: data }) => opened(peer, data).then(resolve, reject);
    failing(peer, reject);
  });
  channel.catch(() => {});
  try {
    await peer.setRemoteDescription({ type: "offer", sdp });
    return { code: await describe(peer, "reply"), channel, cancel: () => peer.close() };
  } catch (error) {
    peer.close();
    throw EngineError.from(error, "bad-peer");
  }
}

function open(stun: string): RTCPeerConnection {
  if (stun !== "" && !STUN.test(stun))
    throw new EngineError("bad-option", `a STUN server looks like stun:stun.example.org:3478, got '${stun}'`);
  if (typeof RTCPeerConnection === "undefined")
    throw new EngineError("bad-peer", "this browser cannot connect to other devices: it has no WebRTC");
  return new RTCPeerConnection({ iceServers: stun === "" ? [] : [{ urls: stun }] });
}

/** @returns the code of a browser's own description, with the addresses that it found in time. */
async function describe(peer: RTCPeerConnection, kind: CodeKind): Promise<string> {
  await peer.setLocalDescription();
  if (peer.iceGatheringState !== "complete") {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, GATHERING_MS);
      peer.onicegatheringstatechange = () => {
        if (peer.iceGatheringState !== "complete") return;
        clearTimeout(timer);
        resolve();
      };
    });
  }
  return printCode(codeOf(peer.localDescription?.sdp ?? "", kind));
}

function failing(peer: RTCPeerConnection, fail: (error: EngineError) => void): void {
  peer.addEventListener("connectionstatechange", () => {
    if (peer.connectionState === "failed")
      fail(
        new EngineError(
          "bad-peer",
          "the devices do not reach each other; put both into the same network, or set a STUN server on both",
        ),
      );
  });
}

function opened(peer: RTCPeerConnection, data: RTCDataChannel): Promise<Channel> {
  data.binaryType = "arraybuffer";
  data.bufferedAmountLowThreshold = MOST_BUFFERED_BYTES / 2;
  const channel = new DataChannel(peer, data);
  return new Promise((resolve, reject) => {
    failing(peer, reject);
    if (data.readyState === "open") resolve(channel);
    data.onopen = () => resolve(channel);
  });
}

class DataChannel implements Channel {
  #ended = false;
  #early: (Uint8Array<ArrayBuffer> | undefined)[] = [];
  #onPacket: Channel["onPacket"] | undefined;
  onClose: () => void = () => {};

  constructor(
    private readonly peer: RTCPeerConnection,
    private readonly data: RTCDataChannel,
  ) {
    data.onmessage = ({ data: packet }: MessageEvent<unknown>) => {
      const bytes = packet instanceof ArrayBuffer ? new Uint8Array(packet) : undefined;
      // The other side may be quicker than whoever waits for the channel here; it may not be much quicker.
      if (this.#onPacket) this.#onPacket(bytes);
      else if (this.#early.length < 16) this.#early.push(bytes);
    };
    data.onclose = () => this.#end();
    failing(peer, () => this.#end());
  }

  set onPacket(listener: Channel["onPacket"]) {
    this.#onPacket = listener;
    for (const packet of this.#early.splice(0)) listener(packet);
  }

  send(packet: Uint8Array<ArrayBuffer>): void {
    if (this.data.readyState === "open") this.data.send(packet);
  }

  async ready(): Promise<void> {
    if (this.data.bufferedAmount <= MOST_BUFFERED_BYTES || this.data.readyState !== "open") return;
    await new Promise<void>((resolve) => {
      this.data.addEventListener("bufferedamountlow", () => resolve(), { once: true });
      this.data.addEventListener("close", () => resolve(), { once: true });
    });
  }

  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    // What was sent before is still delivered: closing a channel waits for it, closing the connection does not.
    this.data.close();
    setTimeout(() => this.peer.close(), 1000);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.peer.close();
    this.onClose();
  }
}
