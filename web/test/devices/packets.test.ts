import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseMessage } from "../../src/devices/messages";
import { PACKET_BYTES, PacketReader, packetsOf } from "../../src/devices/packets";
import { EngineError } from "../../src/engine/api";
import { failure, says } from "../engine/errors";

const bytes = (length: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.from({ length }, (_, place) => (place * 7) % 256);

describe("packets", () => {
  test.each([0, 1, PACKET_BYTES - 7, PACKET_BYTES, 5 * PACKET_BYTES])(
    "carry a payload of %d bytes",
    (size) => {
      const packets = packetsOf({ header: '{"ö":1}', payload: bytes(size) });
      expect(packets.every((packet) => packet.byteLength <= PACKET_BYTES)).toBe(true);
      const reader = new PacketReader(1e6);
      const came = packets.map((packet) => reader.add(packet));
      expect(came.slice(0, -1).every((each) => each === undefined)).toBe(true);
      expect(came.at(-1)).toEqual({ header: '{"ö":1}', payload: bytes(size) });
    },
  );

  test("are refused when a message grows beyond what is allowed, and nothing is kept", async () => {
    const reader = new PacketReader(20);
    const packets = packetsOf({ header: "{}", payload: bytes(2 * PACKET_BYTES) });
    expect(await failure(() => reader.add(packets[0] as Uint8Array<ArrayBuffer>))).toMatch(
      says("bad-peer", "a message may have 20 bytes here"),
    );
    expect(reader.add(packetsOf({ header: "{}", payload: bytes(1) })[0] as Uint8Array<ArrayBuffer>)).toEqual({
      header: "{}",
      payload: bytes(1),
    });
  });

  test("of any bytes give a message or one kind of error", () => {
    const packet = fc.uint8Array({ maxLength: 40 }).map((each) => new Uint8Array(each));
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 5 }), (packets) => {
        const reader = new PacketReader(64);
        for (const each of packets) {
          try {
            const envelope = reader.add(each);
            if (envelope) parseMessage(envelope.header);
          } catch (error) {
            if (!(error instanceof EngineError) || error.code !== "bad-peer") throw error;
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("messages", () => {
  test("of any JSON give a message or one kind of error", () => {
    const json = fc.oneof(
      fc.json(),
      fc
        .record({
          kind: fc.constantFrom("hello", "turn", "done", "event", "holds", "bye"),
          id: fc.anything(),
        })
        .map((each) => JSON.stringify(each)),
    );
    fc.assert(
      fc.property(json, (text) => {
        try {
          parseMessage(text);
        } catch (error) {
          if (!(error instanceof EngineError) || error.code !== "bad-peer") throw error;
        }
      }),
      { numRuns: 300 },
    );
  });

  test.each([
    ['{"kind":"bye","reason":"a\\nb"}', "control characters"],
    ['{"kind":"bye"}', "a missing key"],
    ['{"kind":"ping","more":1}', "an unknown key"],
    ['{"kind":"assign","agents":["__proto__"],"__proto__":{}}', "a key with a meaning in JavaScript"],
    ["[".repeat(100_000), "deep nesting"],
  ])("refuse %s", async (text) => {
    expect(await failure(() => parseMessage(text))).toMatch(/^bad-peer: /);
  });
});
