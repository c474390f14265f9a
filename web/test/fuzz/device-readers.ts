/** Readers of what another device sends, and of the codes that people carry from one to the other. */
import { parseCode, printCode, sdpOf } from "../../src/devices/code";
import { byteLength, splitPayload } from "../../src/devices/handoffs";
import { parseMessage } from "../../src/devices/messages";
import { PacketReader, packetsOf } from "../../src/devices/packets";
import { EngineError } from "../../src/engine/errors";
import { cases, json, textOf } from "./files";
import type { Reader } from "./fuzzing";

const SHA = "0".repeat(64);

/** Reads a code as both kinds; what it says becomes lines of a session description, and no line more. */
function readCode(content: Buffer): void {
  const refused: EngineError[] = [];
  for (const kind of ["invitation", "reply"] as const) {
    try {
      const code = parseCode(textOf(content), kind);
      const lines = sdpOf(code).split("\r\n");
      const candidates = lines.filter((line) => line.startsWith("a=candidate:")).length;
      if (candidates !== code.addresses.length || lines.some((line) => !/^([a-z]=[ -~]*)?$/.test(line)))
        throw new Error(`a code made the lines ${JSON.stringify(lines)}`);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      refused.push(error);
    }
  }
  if (refused[0]) throw refused[0];
}

/** Reads a message, and cuts a payload as it says. */
function readMessage(content: Buffer): void {
  const message = parseMessage(textOf(content));
  if (!("handoffs" in message)) return;
  const bytes = message.handoffs.reduce((sum, header) => sum + byteLength(header), 0);
  splitPayload(message.handoffs, new Uint8Array(Math.min(bytes, 1 << 20)));
}

/** Takes the bytes as one packet, and as packets of 16 bytes. */
function readPackets(content: Buffer): void {
  const whole = new PacketReader(1000).add(new Uint8Array(content));
  if (whole) parseMessage(whole.header);
  const reader = new PacketReader(1000);
  for (let at = 0; at < content.length; at += 16) reader.add(new Uint8Array(content.subarray(at, at + 16)));
}

export function deviceReaders(): readonly Reader[] {
  const { options, result } = cases<{ options: object; result: { turns: object[] } }>(
    "saved-runs/version-4.json",
  );
  const handoff = { run: "run-0001", edge: "a->b", round: 0, shape: [2, 3], dtype: "float32", sha256: SHA };
  const code = {
    kind: "invitation",
    user: "li5D",
    password: "CSoUGP3oI3LI+fquD9RDCn3l",
    fingerprint: "f27c".repeat(16),
    addresses: [
      ["fd00::2", 53929, "host", 2113942271],
      ["203.0.113.7", 40001, "srflx", 1677729535],
    ],
  } as const;
  const { answer: _, ...turn } = {
    id: 1,
    run: "run-0001",
    turn: 0,
    drawn: 0,
    calls: 0,
    answer: null,
    handoffs: [handoff],
  };
  return [
    {
      name: "device-code",
      seeds: [printCode(code), `https://host.test/#join=${printCode({ ...code, kind: "reply" })}`],
      read: readCode,
    },
    {
      name: "device-message",
      seeds: json(
        { kind: "hello", protocol: 1, device: "device-1", name: "n", gpu: "g", manifest: SHA, links: SHA },
        { kind: "holds", agents: [{ id: "a", dtype: "float32" }] },
        { kind: "assign", agents: ["a", "b"] },
        { kind: "turn", ...turn, options, sends: [{ edge: "a->b", dtype: "float16" }] },
        { kind: "done", ...turn, answer: null, summary: result.turns[0] },
        { kind: "failed", id: 1, code: "bad-numbers", message: "NaN" },
        { kind: "stop", id: 1 },
      ),
      read: readMessage,
    },
    {
      name: "device-packets",
      seeds: [Buffer.concat(packetsOf({ header: '{"kind":"stop","id":1}', payload: new Uint8Array(3) }))],
      read: readPackets,
    },
  ];
}
