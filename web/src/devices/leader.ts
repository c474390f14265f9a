/**
 * The device that leads: it knows which device holds which agent, asks them for turns, and checks what comes back.
 *
 * A run waits while an agent's device is gone or silent. It goes on when the device is back, or when the agent is given
 * to another one. A turn that was not finished is asked for again; everything that it needs travels with the request.
 */
import {
  EngineError,
  type EngineErrorCode,
  type RunHooks,
  type RunOptions,
  type System,
  type TurnRequest,
  type TurnResult,
} from "../engine/api";
import type { Channel } from "./channel";
import { Connection, type Health } from "./connection";
import { joinPayload, packHandoff, splitPayload, unpackHandoff } from "./handoffs";
import type { Done, Failed, Happened, HeldAgent, Hello, Message, Turn } from "./messages";
import { type Crew, type Job, runShared, type SharedHooks, type SharedResult } from "./run";
import { sharedOptions } from "./turns";

/** What this device can do itself. */
export interface Holder {
  /** The agents that are loaded here now. */
  readonly holds: readonly HeldAgent[];
  perform(request: TurnRequest, hooks: RunHooks): Promise<TurnResult>;
}

/** A device as the leader knows it. */
export interface Device {
  readonly id: string;
  readonly name: string;
  readonly gpu: string;
  /** Whether it is the leader itself. */
  readonly self: boolean;
  readonly health: Health;
  /** Why it is gone or cannot take its turns, for people. */
  readonly problem: string | undefined;
  /** The agents that are loaded there now. */
  readonly holds: readonly string[];
  /** All bytes of the channel since it was opened, headers included, as the leader counts them. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** A hand-off, or a part of its way, that went over a channel. */
export interface Transfer {
  readonly edge: string;
  readonly round: number;
  /** The device that the bytes left, and the one that they reached. */
  readonly from: string;
  readonly to: string;
  readonly bytes: number;
  readonly text: boolean;
}

/** A turn was broken off because its device went away or was relieved of its agent. */
class Interrupted extends Error {}

/** Failures of a turn that another device would not mend. Others are the device's own. */
const OF_THE_RUN: readonly EngineErrorCode[] = [
  "bad-prompt",
  "bad-option",
  "bad-numbers",
  "bad-library",
  "context-overflow",
];

/** No token is longer, with a tool's result at its end. */
const MOST_TOKEN_LENGTH = 16_384;

/** A device that was invited. */
interface Member {
  readonly hello: Hello;
  connection: Connection;
  holds: readonly HeldAgent[];
  problem: string | undefined;
}

/** The turn that a member was asked for. */
interface Asked {
  readonly id: number;
  readonly member: Member;
  readonly job: Job;
  readonly sends: Turn["sends"];
  readonly onEvent: NonNullable<RunHooks["onEvent"]>;
  events: number;
  resolve(result: TurnResult): void;
  reject(error: unknown): void;
}

export class Leader implements Crew {
  readonly #members = new Map<string, Member>();
  /** By agent id: the device that is to hold it. */
  readonly #places = new Map<string, string>();
  readonly #greeting = new Set<Connection>();
  readonly #waiters = new Set<() => void>();
  #asked: Asked | undefined;
  #nextId = 1;
  readonly #closing = new AbortController();
  /** The agent that a run waits for. */
  waitsFor: string | undefined;
  /** What the last run, or the present one, sent over channels. */
  transfers: readonly Transfer[] = [];

  /**
   * @param me - who this device is.
   * @param holder - what it can do itself.
   * @param onChange - called after every change of anything that can be read here.
   */
  constructor(
    readonly system: System,
    private readonly me: Hello,
    private readonly holder: () => Holder,
    private readonly onChange: () => void,
  ) {
    for (const { id } of system.agents) this.#places.set(id, me.device);
  }

  /** This device first, then the others in the order in which they came. */
  get devices(): readonly Device[] {
    const { device, name, gpu } = this.me;
    const here: Device = {
      id: device,
      name,
      gpu,
      self: true,
      health: "open",
      problem: undefined,
      holds: this.holder().holds.map(({ id }) => id),
      sentBytes: 0,
      receivedBytes: 0,
    };
    const others = [...this.#members.values()].map(({ hello, connection, holds, problem }): Device => {
      const { health, sentBytes, receivedBytes, reason } = connection;
      const { device: id, name, gpu } = hello;
      return {
        id,
        name,
        gpu,
        self: false,
        health,
        problem: problem ?? reason,
        holds: holds.map((each) => each.id),
        sentBytes,
        receivedBytes,
      };
    });
    return [here, ...others];
  }

  /** @returns the id of the device that is to hold an agent. */
  placeOf(agent: string): string {
    return this.#places.get(agent) ?? this.me.device;
  }

  /** The agents that a device is to hold. */
  agentsOf(device: string): readonly string[] {
    return this.system.agents.flatMap(({ id }) => (this.placeOf(id) === device ? [id] : []));
  }

  /** Takes in a device that has opened a channel. It counts once it has said who it is and has the same files. */
  connect(channel: Channel, onRefused: (reason: string) => void): void {
    const connection: Connection = new Connection(channel, this.me, {
      onOpen: (peer) => this.#open(connection, peer),
      onMessage: (message, payload) => this.#receive(connection, message, payload),
      onChange: () => {
        if (connection.health === "closed" && this.#greeting.delete(connection))
          onRefused(connection.reason ?? "the other device went away before it said who it is");
        const member = this.#memberOf(connection);
        if (member && connection.health === "closed") {
          member.holds = [];
          this.#interrupt(member);
        }
        this.#changed();
      },
    });
    this.#greeting.add(connection);
  }

  /** Gives an agent to a device. If its turn is under way elsewhere, that turn is broken off. */
  assign(agent: string, device: string): void {
    const before = this.placeOf(agent);
    if (before === device) return;
    this.#places.set(agent, device);
    if (this.#asked?.job.agent === agent) {
      this.#asked.member.connection.send({ kind: "stop", id: this.#asked.id });
      this.#interrupt(this.#asked.member);
    }
    for (const each of [before, device]) this.#tell(each);
    this.#changed();
  }

  /** Sends a device away; its agents stay where they are until somebody takes them over. */
  dismiss(device: string): void {
    const member = this.#members.get(device);
    member?.connection.close("the device that leads has ended the connection");
    if (this.agentsOf(device).length === 0) this.#members.delete(device);
    this.#changed();
  }

  /** Must be called when the agents that are loaded here have changed. */
  refresh(): void {
    this.#changed();
  }

  /** Ends all connections, and the run that is going on. */
  close(): void {
    this.#closing.abort();
    for (const connection of [
      ...this.#greeting,
      ...[...this.#members.values()].map((each) => each.connection),
    ])
      connection.close("the device that leads has ended the session");
  }

  /**
   * Answers one question on all devices.
   *
   * @throws EngineError
   */
  async run(options: RunOptions, hooks: SharedHooks = {}): Promise<SharedResult> {
    this.transfers = [];
    try {
      const signals = [this.#closing.signal, ...(hooks.signal ? [hooks.signal] : [])];
      return await runShared(this, options, { ...hooks, signal: AbortSignal.any(signals) });
    } finally {
      this.waitsFor = undefined;
      this.#changed();
    }
  }

  /** Performs a turn where its agent is, as often as it takes. */
  async perform(job: Job, hooks: RunHooks): Promise<TurnResult> {
    for (;;) {
      const place = await this.#place(job.agent, hooks.signal);
      try {
        if (place === "here") return await this.holder().perform(job.request, hooks);
        return await this.#ask(place, job, hooks);
      } catch (error) {
        if (!(error instanceof Interrupted)) throw error;
      }
    }
  }

  /** Waits until the device that is to hold an agent is there and has loaded it. */
  async #place(agent: string, signal: AbortSignal | undefined): Promise<Member | "here"> {
    for (;;) {
      if (signal?.aborted) throw new EngineError("cancelled", "cancelled");
      const device = this.placeOf(agent);
      const member = this.#members.get(device);
      const holds = member ? member.holds : device === this.me.device ? this.holder().holds : [];
      const there = holds.some(({ id }) => id === agent) && member?.connection.health !== "closed";
      if (there) {
        if (this.waitsFor !== undefined) {
          this.waitsFor = undefined;
          this.onChange();
        }
        return member ?? "here";
      }
      if (this.waitsFor !== agent) {
        this.waitsFor = agent;
        this.onChange();
      }
      await this.#change(signal);
    }
  }

  /** Resolves at the next change, or when the run is cancelled. */
  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiters.delete(done);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      this.#waiters.add(done);
      signal?.addEventListener("abort", done);
    });
  }

  async #ask(member: Member, job: Job, { signal, onEvent = () => {} }: RunHooks): Promise<TurnResult> {
    const { request, run, shared } = job;
    const dtype = member.holds.find(({ id }) => id === job.agent)?.dtype ?? "float32";
    const packed = await Promise.all(
      shared.arrives.flatMap((planned) => {
        const carried = request.carried[planned.edge.id];
        return carried ? [packHandoff(carried, { ...planned, run, dtype })] : [];
      }),
    );
    const sends = shared.sends.map(({ edge }) => ({ edge: edge.id, dtype: this.#dtypeOf(edge.to) }));
    const id = this.#nextId++;
    const stop = (): void => {
      member.connection.send({ kind: "stop", id });
      this.#asked?.reject(new EngineError("cancelled", "cancelled"));
    };
    try {
      return await new Promise<TurnResult>((resolve, reject) => {
        this.#asked = { id, member, job, sends, onEvent, events: 0, resolve, reject };
        if (member.connection.health === "closed") return reject(new Interrupted());
        if (signal?.aborted) return stop();
        signal?.addEventListener("abort", stop, { once: true });
        const { turn, drawn, calls } = request;
        const options = sharedOptions(this.system, request.options);
        const handoffs = packed.map(({ header }) => header);
        member.connection.send(
          { kind: "turn", id, run, turn, options, drawn, calls, handoffs, sends },
          joinPayload(packed),
        );
        this.#note(packed, this.me.device, member.hello.device);
      });
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#asked = undefined;
    }
  }

  /** The dtype in which an agent reads hand-offs where it is loaded; elsewhere, that of the leader's build. */
  #dtypeOf(agent: string): HeldAgent["dtype"] {
    const member = this.#members.get(this.placeOf(agent));
    const held = (member ? member.holds : this.holder().holds).find(({ id }) => id === agent);
    return held?.dtype ?? this.system.agents.find(({ id }) => id === agent)?.dtype ?? "float32";
  }

  #open(connection: Connection, peer: Hello): void {
    const known = this.#members.get(peer.device);
    if (known?.connection.health === "open")
      throw new EngineError("bad-peer", `a device with the id of '${known.hello.name}' is connected already`);
    this.#greeting.delete(connection);
    if (known) {
      const old = known.connection;
      // From here on, what the old connection says is not heard any more.
      this.#members.set(peer.device, { hello: peer, connection, holds: [], problem: undefined });
      old.close("the device has come back over another connection");
      this.#interrupt(known);
    } else {
      this.#members.set(peer.device, { hello: peer, connection, holds: [], problem: undefined });
    }
    this.#tell(peer.device);
  }

  #receive(connection: Connection, message: Message, payload: Uint8Array<ArrayBuffer>): void {
    const member = this.#memberOf(connection);
    if (!member) return;
    switch (message.kind) {
      case "holds":
        member.holds = checkHeld(message.agents, this.system);
        member.problem = undefined;
        return;
      case "event":
        this.#event(member, message);
        return;
      case "done":
        void this.#done(member, message, payload);
        return;
      case "failed":
        this.#failed(member, message);
        return;
      default:
        throw new EngineError("bad-peer", `a member must not send '${message.kind}'`);
    }
  }

  /** The turn that a member speaks of; undefined if nobody waits for it any more. */
  #current(member: Member, id: number): Asked | undefined {
    if (id >= this.#nextId)
      throw new EngineError("bad-peer", `the other device speaks of turn ${id}, for which nobody asked`);
    return this.#asked?.id === id && this.#asked.member === member ? this.#asked : undefined;
  }

  #event(member: Member, { id, event }: Happened): void {
    const asked = this.#current(member, id);
    if (!asked) return;
    const { turn } = asked.job.shared;
    const { contextWindowSize = 0 } = this.system.agents.find((each) => each.id === turn.agent) ?? {};
    asked.events += 1;
    if (event.agent !== turn.agent || event.round !== turn.round)
      throw new EngineError("bad-peer", "the other device reports something of another turn");
    if (event.kind === "step" && (event.of !== turn.latentSteps || event.step >= event.of))
      throw new EngineError("bad-peer", `the other device reports step ${event.step} of ${turn.latentSteps}`);
    if (event.kind === "token" && event.text.length > MOST_TOKEN_LENGTH)
      throw new EngineError(
        "bad-peer",
        `the other device reports a token of ${event.text.length} characters`,
      );
    if (asked.events > 1 + turn.latentSteps + 2 * contextWindowSize)
      throw new EngineError("bad-peer", "the other device reports more than a turn can have");
    const { at: _, ...rest } = event;
    asked.onEvent(rest);
  }

  async #done(member: Member, done: Done, payload: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      const asked = this.#current(member, done.id);
      if (!asked) return;
      const result = await readResult(asked, done, payload);
      if (this.#current(member, done.id) !== asked) return;
      this.#note(splitPayload(done.handoffs, payload), member.hello.device, this.me.device);
      asked.resolve(result);
    } catch (error) {
      member.connection.close(EngineError.from(error).message);
    }
    this.#changed();
  }

  #failed(member: Member, { id, code, message }: Failed): void {
    const asked = this.#current(member, id);
    if (!asked) return;
    const known = OF_THE_RUN.find((each) => each === code);
    if (known) {
      asked.reject(new EngineError(known, message));
      return;
    }
    // The device itself cannot go on. It says what it holds again when it can.
    member.holds = [];
    member.problem = message;
    this.#interrupt(member);
  }

  #memberOf(connection: Connection): Member | undefined {
    return [...this.#members.values()].find((each) => each.connection === connection);
  }

  #interrupt(member: Member): void {
    if (this.#asked?.member === member) this.#asked.reject(new Interrupted());
  }

  /** Tells a member which agents it is to hold. */
  #tell(device: string): void {
    this.#members.get(device)?.connection.send({ kind: "assign", agents: this.agentsOf(device) });
  }

  #note(packed: ReturnType<typeof splitPayload>, from: string, to: string): void {
    const more = packed.map(({ header, bytes }): Transfer => {
      const { edge, round, dtype } = header;
      return { edge, round, from, to, bytes: bytes.byteLength, text: dtype === "utf-8" };
    });
    this.transfers = [...this.transfers, ...more];
  }

  #changed(): void {
    for (const waiter of [...this.#waiters]) waiter();
    this.onChange();
  }
}

function checkHeld(held: readonly HeldAgent[], { agents }: System): readonly HeldAgent[] {
  const unknown = held.find(({ id }) => !agents.some((agent) => agent.id === id));
  if (unknown)
    throw new EngineError(
      "bad-peer",
      `the other device holds '${unknown.id}', which the system does not have`,
    );
  return held;
}

/** Checks a turn that a member has taken against the plan. */
async function readResult(
  { job, sends }: Asked,
  done: Done,
  payload: Uint8Array<ArrayBuffer>,
): Promise<TurnResult> {
  const { request, run, shared, agent } = job;
  const { turn } = shared;
  const { summary, answer, drawn, calls } = done;
  const check = (what: string, came: unknown, wanted: unknown): void => {
    if (came !== wanted)
      throw new EngineError("bad-peer", `the other device's turn has ${what} ${came}, expected ${wanted}`);
  };
  check("the run", done.run, run);
  check("the number", done.turn + 1, request.turn + 1);
  check("the agent", summary.agent, agent);
  check("the round", summary.round + 1, turn.round + 1);
  check("latent steps:", summary.latentSteps, turn.latentSteps);
  check("an answer:", answer !== null, turn.answers);
  check("hand-offs:", done.handoffs.length, shared.sends.length);
  if (drawn < request.drawn || calls < request.calls)
    throw new EngineError("bad-peer", "the other device's turn takes back numbers that were drawn before it");
  const packed = splitPayload(done.handoffs, payload);
  const carried = await Promise.all(
    shared.sends.map(async (planned, index) => {
      const dtype = sends[index]?.dtype ?? "float32";
      const handoff = packed[index] as (typeof packed)[number];
      return [planned.edge.id, await unpackHandoff(handoff, { ...planned, run, dtype })] as const;
    }),
  );
  return {
    summary,
    carried: Object.fromEntries(carried),
    ...(answer ? { answer } : {}),
    drawn,
    calls,
  };
}
