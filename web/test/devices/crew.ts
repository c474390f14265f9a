/** Devices in one process: channels in memory, and agents whose numbers follow from everything that they read. */

import type { Channel } from "../../src/devices/channel";
import type { Holder } from "../../src/devices/leader";
import type { HeldAgent, Hello } from "../../src/devices/messages";
import { type Carried, EngineError, planRun, type RunEvent, type TurnRequest } from "../../src/engine/api";
import { system } from "../engine/fixtures";

type Bytes = Uint8Array<ArrayBuffer>;

export const SYSTEM = system();

/** One end of a channel in memory. */
export class FakeChannel implements Channel {
  onPacket: Channel["onPacket"] = () => {};
  onClose: Channel["onClose"] = () => {};
  other: FakeChannel | undefined;
  closed = false;
  /** While it is frozen, nothing that was sent to it arrives. */
  frozen = false;
  /** Changes what this end sends; undefined drops it. */
  tamper: (packet: Bytes) => Bytes | undefined = (packet) => packet;
  readonly #arrived: Bytes[] = [];

  send(packet: Bytes): void {
    const sent = this.closed ? undefined : this.tamper(packet.slice());
    if (!sent) return;
    queueMicrotask(() => {
      this.other?.arrive(sent);
    });
  }

  arrive(packet: Bytes): void {
    this.#arrived.push(packet);
    this.deliver();
  }

  deliver(): void {
    while (!this.frozen && !this.closed) {
      const packet = this.#arrived.shift();
      if (!packet) return;
      this.onPacket(packet);
    }
  }

  async ready(): Promise<void> {}

  close(): void {
    if (this.closed) return;
    this.closed = true;
    queueMicrotask(() => this.other?.gone());
  }

  /** The other end, or the network, has closed it. */
  gone(): void {
    if (this.closed) return;
    this.closed = true;
    this.onClose();
  }
}

export function pair(): [FakeChannel, FakeChannel] {
  const [one, other] = [new FakeChannel(), new FakeChannel()];
  one.other = other;
  other.other = one;
  return [one, other];
}

export function hello(name: string, changes: Partial<Hello> = {}): Hello {
  return {
    kind: "hello",
    protocol: 1,
    device: `device-${name}`,
    name,
    gpu: "a fake",
    manifest: "a".repeat(64),
    links: "b".repeat(64),
    ...changes,
  };
}

const COUNTERS = {
  syncs: 1,
  readbackBytes: 0,
  dispatches: 1,
  submits: 1,
  uploadBytes: 0,
  liveBytes: 10,
  peakBytes: 10,
};

function mix(seed: number): number {
  let bits = Math.imul(seed ^ (seed >>> 16), 0x21f0aaad);
  bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
  return (bits ^ (bits >>> 15)) >>> 0;
}

/** Holds agents that compute something from every bit of what they are given. */
export class FakeHolder implements Holder {
  holds: HeldAgent[];
  readonly taken: string[] = [];
  /** Called before a turn's hand-offs are computed; may wait, or throw. */
  before: (request: TurnRequest, signal: AbortSignal | undefined) => Promise<void> = async () => {};

  constructor(agents: readonly string[], dtype: HeldAgent["dtype"] = "float32") {
    this.holds = agents.map((id) => ({ id, dtype }));
  }

  perform: Holder["perform"] = async (request, { signal, onEvent = () => {} }) => {
    const plan = planRun(SYSTEM, request.options);
    const turn = plan.turns[request.turn];
    if (!turn || !this.holds.some(({ id }) => id === turn.agent))
      throw new EngineError("internal", "not mine");
    this.taken.push(`${turn.agent}${turn.round + 1}`);
    let seed = mix(request.turn + 1 + request.drawn);
    for (const [edge, carried] of Object.entries(request.carried).sort()) {
      const bytes =
        "text" in carried
          ? new TextEncoder().encode(carried.text)
          : new Uint8Array(Float32Array.from(carried.rows.data).buffer);
      for (const byte of [...bytes, edge.length]) seed = mix(seed + byte);
    }
    const base = { round: turn.round, agent: turn.agent };
    const emit = (event: RunEvent): void => onEvent(event);
    emit({ kind: "turn-start", ...base, promptTokens: 5, latentRows: 0 });
    for (let step = 0; step < turn.latentSteps; step++)
      emit({ kind: "step", ...base, step, of: turn.latentSteps, forwardPositions: step + 5, ms: 1 });
    await this.before(request, signal);
    if (signal?.aborted) throw new EngineError("cancelled", "cancelled");
    const sent = turn.sends.map((edge): readonly [string, Carried] => {
      if (turn.textTokens > 0) return [edge.id, { text: `${turn.agent} says ${seed} ✓` }];
      const columns = SYSTEM.agents.find(({ id }) => id === edge.to)?.hiddenSize ?? 0;
      const data = Float32Array.from({ length: turn.latentSteps * columns }, (_, place) =>
        Math.sin(mix(seed + place) / 1000),
      );
      return [edge.id, { rows: { rows: turn.latentSteps, columns, data } }];
    });
    if (turn.answers)
      emit({
        kind: "token",
        ...base,
        tokenId: 1,
        text: String(seed),
        answer: true,
        forwardPositions: 9,
        ms: 1,
      });
    return {
      summary: {
        ...base,
        promptTokens: 5,
        latentSteps: turn.latentSteps,
        decodedTokens: turn.answers ? 1 : 0,
        forwardPositions: 9,
        text: turn.answers ? String(seed) : "",
        ms: 1,
        counters: COUNTERS,
      },
      carried: Object.fromEntries(sent),
      ...(turn.answers
        ? { answer: { text: String(seed), tokenIds: [1], stopReason: "stop-token" as const } }
        : {}),
      drawn: request.drawn + 1,
      calls: request.calls,
    };
  };
}
