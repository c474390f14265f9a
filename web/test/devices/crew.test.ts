import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { SILENT_MS } from "../../src/devices/connection";
import { Leader } from "../../src/devices/leader";
import { Member } from "../../src/devices/member";
import { type Message, parseMessage, printMessage } from "../../src/devices/messages";
import { PacketReader, packetsOf } from "../../src/devices/packets";
import type { RunEvent, RunOptions, RunResult } from "../../src/engine/api";
import { failure, says } from "../engine/errors";
import { type FakeChannel, FakeHolder, hello, pair, SYSTEM } from "./crew";

type Bytes = Uint8Array<ArrayBuffer>;

const OPTIONS: RunOptions = { question: "q", latentSteps: 2, trace: { handoffs: true } };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Waits for something that messages bring about. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await settle();
}

/** Lets messages through. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) {
    await new Promise<void>((resolve) => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        channel.port1.close();
        resolve();
      };
      channel.port2.postMessage(null);
    });
  }
}

/** A device that was invited, with both ends of its channel. */
interface Guest {
  readonly member: Member;
  readonly holder: FakeHolder;
  /** The guest's end. */
  readonly channel: FakeChannel;
}

class Table {
  readonly here = new FakeHolder(["a", "b", "c"]);
  readonly refused: string[] = [];
  readonly leader = new Leader(
    SYSTEM,
    hello("leader"),
    () => this.here,
    () => {},
  );

  async invite(name: string, holder: FakeHolder, changes = {}): Promise<Guest> {
    const [ours, theirs] = pair();
    this.leader.connect(ours, (reason) => this.refused.push(reason));
    const member = new Member(
      SYSTEM,
      hello(name, changes),
      theirs,
      () => holder,
      () => {},
    );
    await settle();
    return { member, holder, channel: theirs };
  }

  health(name: string): string | undefined {
    return this.leader.devices.find((device) => device.name === name)?.health;
  }
}

async function alone(options: RunOptions = OPTIONS): Promise<RunResult> {
  return await new Table().leader.run(options);
}

/** Everything of a result but its times. */
function plain({ ms: _, ...result }: RunResult): unknown {
  return result;
}

describe("a run on several devices", () => {
  test.each([
    ["latent", ["b"], 8],
    ["latent", ["a", "b", "c"], 12],
    ["text", ["b"], 8],
    ["single", ["c"], 0],
    ["loop", ["c"], 0],
  ] as const)("gives the bits of one device: %s, with %s elsewhere", async (mode, agents, _) => {
    const table = new Table();
    const { holder } = await table.invite("phone", new FakeHolder(agents));
    for (const agent of agents) table.leader.assign(agent, "device-phone");
    const events: RunEvent[] = [];
    const options = { ...OPTIONS, mode };
    const result = await table.leader.run(options, { onEvent: (event) => events.push(event) });
    const expected = await alone(options);
    expect(plain(result)).toEqual(plain(expected));
    expect(holder.taken.length).toBeGreaterThan(0);
    expect(table.here.taken.some((turn) => (agents as readonly string[]).includes(turn[0] ?? ""))).toBe(
      false,
    );
    expect(events.filter(({ kind }) => kind === "turn-start")).toHaveLength(result.turns.length);
    expect(events.filter(({ kind }) => kind === "turn-end")).toHaveLength(result.turns.length);
  });

  test("relays hand-offs between two other devices, and counts every byte that crossed a channel", async () => {
    const table = new Table();
    await table.invite("phone", new FakeHolder(["a"]));
    await table.invite("tablet", new FakeHolder(["b"]));
    table.leader.assign("a", "device-phone");
    table.leader.assign("b", "device-tablet");
    const result = await table.leader.run({ ...OPTIONS, rounds: 1 });
    expect(plain(result)).toEqual(plain(await alone({ ...OPTIONS, rounds: 1 })));
    const size = (edge: string): number =>
      4 * (result.handoffs.find((each) => each.edge === edge)?.states?.data.length ?? 0);
    expect(table.leader.transfers).toEqual([
      { edge: "a->b", round: 0, from: "device-phone", to: "device-leader", bytes: size("a->b"), text: false },
      {
        edge: "a->b",
        round: 0,
        from: "device-leader",
        to: "device-tablet",
        bytes: size("a->b"),
        text: false,
      },
      {
        edge: "b->c",
        round: 0,
        from: "device-tablet",
        to: "device-leader",
        bytes: size("b->c"),
        text: false,
      },
    ]);
    const [, phone] = table.leader.devices;
    expect(phone?.receivedBytes).toBeGreaterThan(size("a->b"));
  });

  test("stops early when what is fed back stops changing: the deciding agent takes its turn again to answer", async () => {
    const earlyStopping = { threshold: 0.9 };
    const options = { ...OPTIONS, rounds: 4, earlyStopping };
    const { leader, here, invite } = ((table) => ({ ...table, invite: table.invite.bind(table) }))(
      new Table(),
    );
    const guest = await invite("guest", new FakeHolder(["c"]));
    leader.assign("c", "device-guest");
    await settle();
    const perform = guest.holder.perform;
    const asked: RunOptions[] = [];
    // What c feeds back from round 2 on is what it fed back in round 1, but for its length.
    let first: Float32Array | undefined;
    guest.holder.perform = async (request, hooks) => {
      asked.push(request.options);
      const result = await perform(request, hooks);
      const sent = result.carried["c->a"];
      if (!sent || !("rows" in sent)) return result;
      first ??= sent.rows.data as Float32Array;
      const data = first.map((value) => value * (request.turn + 1));
      return { ...result, carried: { "c->a": { rows: { ...sent.rows, data } } } };
    };
    const result = await leader.run(options);
    expect(result.earlyStop).toEqual({ round: 1, similarity: expect.closeTo(1, 5) });
    expect(result.turns.map(({ round, agent }) => `${agent}${round + 1}`)).toEqual([
      ...["a1", "b1", "c1", "a2", "b2", "c2", "c2"],
    ]);
    expect(result.rounds).toBe(2);
    expect(here.taken).toEqual(["a1", "b1", "a2", "b2"]);
    expect(asked.map((each) => each.rounds)).toEqual([4, 4, 2]);
    expect(asked.every((each) => !("earlyStopping" in each))).toBe(true);
    expect(result.handoffs.filter(({ edge }) => edge === "c->a").map(({ similarity }) => similarity)).toEqual(
      [undefined, expect.closeTo(1, 5)],
    );
    // Nothing is alike where every hand-off depends on all that was read.
    const whole = await alone(options);
    expect(whole).not.toHaveProperty("earlyStop");
    expect(whole.answer).toBe((await alone({ ...OPTIONS, rounds: 4 })).answer);
  });

  test("sends half precision to a device that computes in it", async () => {
    const table = new Table();
    await table.invite("phone", new FakeHolder(["b"], "float16"));
    table.leader.assign("b", "device-phone");
    await table.leader.run({ ...OPTIONS, rounds: 1 });
    expect(table.leader.transfers.map(({ edge, bytes }) => [edge, bytes])).toEqual([
      ["a->b", 2 * 12 * 2],
      ["b->c", 2 * 16 * 4],
    ]);
  });

  test("needs no request of its own for a search or replaced hand-offs", async () => {
    const { leader } = new Table();
    const options = { ...OPTIONS, search: { url: "https://example.org" } };
    expect(await failure(() => leader.run(options))).toMatch(
      says("bad-option", "neither search nor replace"),
    );
  });
});

describe("a device that is lost", () => {
  test("pauses the run, which goes on when the device is back", async () => {
    const table = new Table();
    const first = await table.invite("phone", new FakeHolder(["b"]));
    table.leader.assign("b", "device-phone");
    first.holder.before = () => new Promise(() => {});
    const events: RunEvent[] = [];
    const running = table.leader.run(OPTIONS, { onEvent: (event) => events.push(event) });
    await until(() => first.holder.taken.length > 0);
    expect(first.holder.taken).toEqual(["b1"]);
    first.channel.gone();
    first.channel.other?.gone();
    await until(() => table.leader.waitsFor !== undefined);
    expect([table.leader.waitsFor, table.health("phone")]).toEqual(["b", "closed"]);
    const back = await table.invite("phone", new FakeHolder(["b"]));
    expect(plain(await running)).toEqual(plain(await alone()));
    expect(back.holder.taken).toEqual(["b1", "b2"]);
    expect(table.leader.waitsFor).toBeUndefined();
    // What the first try of the turn told is not told again.
    const starts = events.flatMap((event) => (event.kind === "turn-start" ? [event.agent] : []));
    expect(starts).toEqual(["a", "b", "c", "a", "b", "c"]);
    expect(table.leader.devices.map(({ name }) => name)).toEqual(["leader", "phone"]);
  });

  test("gives its agent to another device, which goes on from the last hand-off", async () => {
    const table = new Table();
    const { channel } = await table.invite("phone", new FakeHolder(["b"]));
    table.leader.assign("b", "device-phone");
    let swallowed = false;
    channel.tamper = (packet) => {
      if (!isOf(packet, "done")) return packet;
      swallowed = true;
      return undefined;
    };
    const running = table.leader.run(OPTIONS);
    await until(() => swallowed);
    channel.other?.gone();
    await until(() => table.leader.waitsFor === "b");
    table.leader.assign("b", "device-leader");
    expect(plain(await running)).toEqual(plain(await alone()));
    expect(table.here.taken).toEqual(["a1", "b1", "c1", "a2", "b2", "c2"]);
  });

  test("that only falls silent is shown as silent, and its answer counts when it comes", async () => {
    const table = new Table();
    const { channel } = await table.invite("phone", new FakeHolder(["b"]));
    table.leader.assign("b", "device-phone");
    channel.frozen = true;
    channel.tamper = () => undefined;
    const running = table.leader.run(OPTIONS);
    await until(() => table.leader.transfers.length > 0);
    await vi.advanceTimersByTimeAsync(SILENT_MS + 3000);
    expect(table.health("phone")).toBe("silent");
    channel.tamper = (packet) => packet;
    channel.frozen = false;
    channel.deliver();
    expect(plain(await running)).toEqual(plain(await alone()));
    expect(table.health("phone")).toBe("open");
  });

  test("that is silent can be relieved of its agent, and what it says later does not count", async () => {
    const table = new Table();
    const { channel, holder } = await table.invite("phone", new FakeHolder(["b"]));
    table.leader.assign("b", "device-phone");
    channel.frozen = true;
    const running = table.leader.run(OPTIONS);
    await until(() => table.leader.transfers.length > 0);
    table.leader.assign("b", "device-leader");
    expect(plain(await running)).toEqual(plain(await alone()));
    channel.frozen = false;
    channel.deliver();
    await settle();
    expect(holder.taken).toEqual([]);
    expect(table.health("phone")).toBe("open");
  });

  test("that cannot compute any more is asked again when it says what it holds", async () => {
    const table = new Table();
    const { member, holder } = await table.invite("phone", new FakeHolder(["b"]));
    table.leader.assign("b", "device-phone");
    holder.before = async () => {
      holder.before = async () => {};
      const { EngineError } = await import("../../src/engine/api");
      throw new EngineError("device-lost", "the driver\nrestarted");
    };
    const running = table.leader.run(OPTIONS);
    await until(() => table.leader.waitsFor === "b");
    expect(table.leader.devices[1]).toMatchObject({
      health: "open",
      problem: "the driver restarted",
      holds: [],
    });
    member.refresh();
    expect(plain(await running)).toEqual(plain(await alone()));
  });

  test("stops when the run is cancelled, and takes part in the next one", async () => {
    const table = new Table();
    const { holder } = await table.invite("phone", new FakeHolder(["b"]));
    table.leader.assign("b", "device-phone");
    let waits = false;
    let stopped = false;
    holder.before = (_, signal) =>
      new Promise((resolve) => {
        waits = true;
        signal?.addEventListener("abort", () => {
          stopped = true;
          resolve();
        });
      });
    const controller = new AbortController();
    const running = failure(() => table.leader.run(OPTIONS, { signal: controller.signal }));
    await until(() => waits);
    controller.abort();
    expect(await running).toMatch(/^cancelled/);
    await until(() => stopped);
    holder.before = async () => {};
    expect(plain(await table.leader.run(OPTIONS))).toEqual(plain(await alone()));
  });
});

test("a turn that was stopped may end later than the next one is asked for", async () => {
  const table = new Table();
  const { holder } = await table.invite("phone", new FakeHolder(["b"]));
  table.leader.assign("b", "device-phone");
  let end = (): void => {};
  holder.before = () =>
    new Promise((resolve) => {
      end = resolve;
    });
  const controller = new AbortController();
  const running = failure(() => table.leader.run(OPTIONS, { signal: controller.signal }));
  await until(() => holder.taken.length === 1);
  controller.abort();
  expect(await running).toMatch(/^cancelled/);
  const again = table.leader.run(OPTIONS);
  await until(() => table.leader.transfers.length > 0);
  await settle();
  holder.before = async () => {};
  end();
  expect(plain(await again)).toEqual(plain(await alone()));
  expect(table.health("phone")).toBe("open");
});

test("a run ends with the session of the device that leads", async () => {
  const table = new Table();
  const { holder, member } = await table.invite("phone", new FakeHolder(["b"]));
  table.leader.assign("b", "device-phone");
  holder.before = () => new Promise(() => {});
  const running = failure(() => table.leader.run(OPTIONS));
  await until(() => holder.taken.length === 1);
  table.leader.close();
  expect(await running).toMatch(/^cancelled/);
  await until(() => member.health === "closed");
  expect(member.reason).toBe("the device that leads has ended the session");
});

describe("a failure that another device would not mend", () => {
  test("ends the run with its own words", async () => {
    const table = new Table();
    const { holder } = await table.invite("phone", new FakeHolder(["b"]));
    table.leader.assign("b", "device-phone");
    holder.before = async () => {
      const { EngineError } = await import("../../src/engine/api");
      throw new EngineError("context-overflow", "agent 'b' needs 90 positions");
    };
    expect(await failure(() => table.leader.run(OPTIONS))).toBe(
      "context-overflow: agent 'b' needs 90 positions",
    );
  });
});

/** Whether a packet begins a message of a kind. */
function isOf(packet: Bytes, kind: Message["kind"]): boolean {
  return new TextDecoder().decode(packet.subarray(5, 60)).startsWith(`{"kind":"${kind}"`);
}

/** Changes the header of messages of a kind, or their payload; all of these messages fit into a packet. */
function lie(kind: Message["kind"], change: (message: never, payload: Bytes) => Bytes | undefined) {
  return (packet: Bytes): Bytes => {
    if (!isOf(packet, kind)) return packet;
    const envelope = new PacketReader(1e6).add(packet);
    if (!envelope) throw new Error("the message does not fit into a packet");
    const message = parseMessage(envelope.header);
    const payload = change(message as never, envelope.payload) ?? envelope.payload;
    return packetsOf({ header: printMessage(message), payload })[0] as Bytes;
  };
}

type Headers = {
  handoffs: { shape: number[]; sha256: string; round: number; dtype: string; edge: string; run: string }[];
};
type Summary = { summary: { agent: string; latentSteps: number }; answer: unknown; drawn: number };

describe("a device that lies", () => {
  const LIES: readonly [string, (packet: Bytes) => Bytes | undefined, string][] = [
    [
      "about a shape",
      lie("done", (m: Headers) => void (m.handoffs[0] as Headers["handoffs"][0]).shape.reverse()),
      "shape (16, 2), expected (2, 16)",
    ],
    [
      "about a sha256",
      lie("done", (m: Headers) => void Object.assign(m.handoffs[0] ?? {}, { sha256: "0".repeat(64) })),
      "has the sha256 000",
    ],
    ["about the bytes", lie("done", (_: Headers, payload) => payload.slice(4)), "their headers speak of 128"],
    [
      "about a dtype",
      lie("done", (m: Headers, payload) => {
        Object.assign(m.handoffs[0] ?? {}, { dtype: "float16" });
        return payload.slice(0, payload.byteLength / 2);
      }),
      "has the dtype float16, expected float32",
    ],
    [
      "about a round",
      lie("done", (m: Headers) => void Object.assign(m.handoffs[0] ?? {}, { round: 7 })),
      "has the round 8, expected 1",
    ],
    [
      "about an edge",
      lie("done", (m: Headers) => void Object.assign(m.handoffs[0] ?? {}, { edge: "a->b" })),
      "has the edge a->b",
    ],
    [
      "about the run",
      lie("done", (m: Headers) => void Object.assign(m.handoffs[0] ?? {}, { run: "another-run" })),
      "has the run another-run",
    ],
    [
      "about its agent",
      lie("done", (m: Summary) => void Object.assign(m.summary, { agent: "a" })),
      "has the agent a, expected b",
    ],
    [
      "about its steps",
      lie("done", (m: Summary) => void Object.assign(m.summary, { latentSteps: 3 })),
      "latent steps: 3, expected 2",
    ],
    [
      "with an answer too early",
      lie(
        "done",
        (m: Summary) =>
          void Object.assign(m, { answer: { text: "x", tokenIds: [], stopReason: "stop-token" } }),
      ),
      "an answer: true, expected false",
    ],
    [
      "with too few hand-offs",
      lie("done", (m: Headers) => {
        m.handoffs.pop();
        return new Uint8Array();
      }),
      "hand-offs: 0, expected 1",
    ],
    [
      "about what was drawn",
      lie("done", (m: Summary) => void Object.assign(m, { drawn: 0 })),
      "takes back numbers",
    ],
    [
      "about a turn nobody asked for",
      lie("done", (m: { id: number }) => void Object.assign(m, { id: 99 })),
      "speaks of turn 99",
    ],
    [
      "about a step",
      lie(
        "event",
        (m: { event: { step?: number } }) =>
          void (m.event.step === undefined || Object.assign(m.event, { step: 9 })),
      ),
      "reports step 9 of 2",
    ],
    [
      "about another agent's event",
      lie("event", (m: { event: { agent: string } }) => void Object.assign(m.event, { agent: "c" })),
      "something of another turn",
    ],
    [
      "with a payload where none belongs",
      lie("event", () => new Uint8Array(3)),
      "sent bytes with a message of kind 'event'",
    ],
    [
      "with garbage",
      (packet) => (isOf(packet, "done") ? crypto.getRandomValues(new Uint8Array(50)) : packet),
      "",
    ],
    [
      "with JSON that is no message",
      (packet) =>
        isOf(packet, "done")
          ? (packetsOf({ header: '{"kind":"do"}', payload: new Uint8Array() })[0] as Bytes)
          : packet,
      "is not a message between devices",
    ],
  ];

  test.each(LIES)("%s is sent away, and the run waits for its agent", async (_, tamper, words) => {
    const table = new Table();
    const { channel, member } = await table.invite("phone", new FakeHolder(["b"]));
    table.leader.assign("b", "device-phone");
    channel.tamper = tamper;
    const running = table.leader.run(OPTIONS);
    await until(() => table.leader.waitsFor === "b" && member.health === "closed");
    expect(table.leader.devices[1]).toMatchObject({ health: "closed", holds: [] });
    expect(table.leader.devices[1]?.problem).toContain(words);
    table.leader.assign("b", "device-leader");
    expect(plain(await running)).toEqual(plain(await alone()));
  });

  const TO_MEMBERS: readonly [string, (packet: Bytes) => Bytes | undefined, string][] = [
    [
      "about a shape",
      lie("turn", (m: Headers) => void (m.handoffs[0] as Headers["handoffs"][0]).shape.reverse()),
      "shape (12, 2), expected (2, 12)",
    ],
    ["about the bytes", lie("turn", (_: Headers, payload) => payload.map((byte) => byte ^ 1)), "the sha256"],
    [
      "about the turn",
      lie("turn", (m: { turn: number }) => void Object.assign(m, { turn: 70 })),
      "asks for turn 70",
    ],
    [
      "and wants to search",
      lie(
        "turn",
        (m: { options: object }) => void Object.assign(m.options, { search: { url: "https://example.org" } }),
      ),
      "neither search nor replace",
    ],
    [
      "with an unknown agent",
      lie("assign", (m: { agents: string[] }) => void m.agents.push("x")),
      "an unknown agent 'x'",
    ],
  ];

  test.each(TO_MEMBERS)("and leads, %s, is left", async (_, tamper, words) => {
    const table = new Table();
    const { member, channel, holder } = await table.invite("phone", new FakeHolder(["b"]));
    (channel.other as FakeChannel).tamper = tamper;
    table.leader.assign("b", "device-phone");
    const running = table.leader.run(OPTIONS);
    await until(() => member.health === "closed");
    expect(member.reason).toContain(words);
    expect(holder.taken).toEqual([]);
    table.leader.assign("b", "device-leader");
    expect(plain(await running)).toEqual(plain(await alone()));
  });
});

describe("devices that do not fit", () => {
  test.each([
    ["another system", { manifest: "c".repeat(64) }, "the devices have different systems"],
    ["other links", { links: "c".repeat(64) }, "the devices have different links"],
    ["another version", { protocol: 2 }, "pages of different versions"],
    ["the same device", { device: "device-leader" }, "opened on the device that made it"],
  ])("are refused on both sides: %s", async (_, changes, words) => {
    const table = new Table();
    const { member } = await table.invite("phone", new FakeHolder(["b"]), changes);
    expect(table.refused.join()).toContain(words);
    expect(member.health).toBe("closed");
    expect(member.reason).toContain(words);
    expect(table.leader.devices).toHaveLength(1);
  });

  test("are refused if they hold an agent that the system lacks", async () => {
    const table = new Table();
    await table.invite("phone", new FakeHolder(["x"]));
    expect(table.leader.devices[1]?.problem).toContain("holds 'x'");
  });

  test("are refused if a device with their id is there already", async () => {
    const table = new Table();
    const first = await table.invite("phone", new FakeHolder(["b"]));
    await table.invite("phone", new FakeHolder(["b"]));
    expect(table.refused.join()).toContain("is connected already");
    expect(first.member.health).toBe("open");
  });

  test("are given up if they never say who they are, and may not talk before", async () => {
    const table = new Table();
    const [ours] = pair();
    table.leader.connect(ours, (reason) => table.refused.push(reason));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(table.refused).toEqual(["the other device did not say who it is"]);
    const [again, theirs] = pair();
    table.leader.connect(again, (reason) => table.refused.push(reason));
    theirs.send(packetsOf({ header: '{"kind":"stop","id":1}', payload: new Uint8Array() })[0] as Bytes);
    await settle();
    expect(table.refused[1]).toContain("sent 'stop' before it said who it is");
    const [third, loud] = pair();
    table.leader.connect(third, (reason) => table.refused.push(reason));
    for (const packet of packetsOf({ header: "{}", payload: new Uint8Array(20_000) })) loud.send(packet);
    await settle();
    expect(table.refused[2]).toContain("a message may have 8192 bytes here");
  });
});
