/** What carries packets between two devices: a WebRTC data channel, or two ends in memory for tests. */

/** One end. Packets arrive whole and in order, or the channel closes. */
export interface Channel {
  /** Sends a packet; does nothing after `close`. */
  send(packet: Uint8Array<ArrayBuffer>): void;
  /** Resolves when little enough waits to be sent. */
  ready(): Promise<void>;
  close(): void;
  /** Called for every packet; `undefined` stands for something that is no packet. */
  onPacket: (packet: Uint8Array<ArrayBuffer> | undefined) => void;
  /** Called once, when the other end or the network has closed it. Not after `close`. */
  onClose: () => void;
}
