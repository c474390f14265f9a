/** A device that was invited: it takes the turns of the agents that it holds, when the device that leads asks. */
import { type Carried, EngineError, type RunEvent, type System, type TurnResult } from "../engine/api";
import type { Channel } from "./channel";
import { Connection, type Health } from "./connection";
import { joinPayload, packHandoff, splitPayload, unpackHandoff } from "./handoffs";
import type { Holder } from "./leader";
import { type Hello, type Message, oneLine, type Turn } from "./messages";
import { planTurns, readSharedOptions, type SharedTurn } from "./turns";

type Bytes = Uint8Array<ArrayBuffer>;

/** The most bytes of latent thoughts that travel for the trace; hand-offs are something else. */
const MOST_THOUGHT_BYTES = 1024 * 1024;

export class Member {
  readonly #connection: Connection;
  /** The turn that the leader waits for. */
  #turn: { readonly id: number; readonly controller: AbortController } | undefined;
  /** Turns are taken one after another: one that was stopped may still be ending when the next one is asked for. */
  #work: Promise<void> = Promise.resolve();
  /** The agents that the leader wants this device to hold. */
  wanted: readonly string[] = [];
  /** The agent whose turn is being taken. */
  acts: string | undefined;
  /** How many turns were taken, and how many bytes of hand-offs they got and sent. */
  turns = 0;
  handoffBytes = 0;

  constructor(
    readonly system: System,
    me: Hello,
    channel: Channel,
    private readonly holder: () => Holder,
    private readonly onChange: () => void,
  ) {
    this.#connection = new Connection(channel, me, {
      onOpen: () => this.refresh(),
      onMessage: (message, payload) => this.#receive(message, payload),
      onChange: () => {
        if (this.health === "closed") this.#turn?.controller.abort();
        onChange();
      },
    });
  }

  get health(): Health {
    return this.#connection.health;
  }

  /** What the device that leads is called, once it has said so. */
  get leader(): string | undefined {
    return this.#connection.peer?.name;
  }

  /** Why the connection was closed. */
  get reason(): string | undefined {
    return this.#connection.reason;
  }

  get sentBytes(): number {
    return this.#connection.sentBytes;
  }

  get receivedBytes(): number {
    return this.#connection.receivedBytes;
  }

  /** Must be called when the agents that are loaded here have changed. */
  refresh(): void {
    this.#connection.send({ kind: "holds", agents: this.holder().holds });
  }

  leave(): void {
    this.#connection.close("the device has left");
    this.#turn?.controller.abort();
  }

  #receive(message: Message, payload: Bytes): void {
    switch (message.kind) {
      case "assign": {
        const known = new Set(this.system.agents.map(({ id }) => id));
        const unknown = message.agents.find((id) => !known.has(id));
        if (unknown !== undefined)
          throw new EngineError("bad-peer", `the other device speaks of an unknown agent '${unknown}'`);
        this.wanted = message.agents;
        return;
      }
      case "turn": {
        if (this.#turn && !this.#turn.controller.signal.aborted)
          throw new EngineError("bad-peer", "the other device asks for a turn while one is being taken");
        const controller = new AbortController();
        this.#turn = { id: message.id, controller };
        this.#work = this.#work.then(() => this.#take(message, payload, controller));
        return;
      }
      case "stop":
        if (this.#turn?.id === message.id) this.#turn.controller.abort();
        return;
      default:
        throw new EngineError("bad-peer", `the device that leads must not send '${message.kind}'`);
    }
  }

  /** Takes a turn and answers. What breaks the protocol closes the connection; any other failure is reported. */
  async #take(message: Turn, payload: Bytes, controller: AbortController): Promise<void> {
    const { id } = message;
    try {
      throwIfAborted(controller.signal);
      const { shared, options, carried } = await this.#check(message, payload);
      this.acts = shared.turn.agent;
      this.onChange();
      const { turn, drawn, calls } = message;
      const began = performance.now();
      const result = await this.holder().perform(
        { options, turn, carried, drawn, calls },
        { signal: controller.signal, onEvent: (event) => this.#report(id, event, performance.now() - began) },
      );
      await this.#answer(message, shared, result);
      this.turns += 1;
      this.handoffBytes += payload.byteLength;
    } catch (thrown) {
      const error = EngineError.from(thrown);
      if (error.code === "bad-peer") this.#connection.close(error.message);
      else if (!controller.signal.aborted)
        this.#connection.send({
          kind: "failed",
          id,
          code: error.code,
          message: oneLine(error.message, 2000),
        });
    } finally {
      if (this.#turn?.controller === controller) {
        this.#turn = undefined;
        this.acts = undefined;
      }
      this.onChange();
    }
  }

  /** Checks a request against the plan that this device makes of it. */
  async #check(
    { run, turn: index, options: saved, handoffs }: Turn,
    payload: Bytes,
  ): Promise<{
    readonly shared: SharedTurn;
    readonly options: ReturnType<typeof readSharedOptions>;
    readonly carried: Readonly<Record<string, Carried>>;
  }> {
    const options = readSharedOptions(saved);
    const shared = planTurns(this.system, options)[index];
    if (!shared)
      throw new EngineError("bad-peer", `the other device asks for turn ${index}, which the run lacks`);
    const { agent } = shared.turn;
    const held = this.holder().holds.find(({ id }) => id === agent);
    if (!held) throw new EngineError("busy", `agent '${agent}' is not loaded on this device`);
    if (handoffs.length !== shared.arrives.length)
      throw new EngineError(
        "bad-peer",
        `the other device sent ${handoffs.length} hand-offs for '${agent}', expected ${shared.arrives.length}`,
      );
    const packed = splitPayload(handoffs, payload);
    const carried = await Promise.all(
      shared.arrives.map(async (planned, place) => {
        const handoff = packed[place] as (typeof packed)[number];
        return [
          planned.edge.id,
          await unpackHandoff(handoff, { ...planned, run, dtype: held.dtype }),
        ] as const;
      }),
    );
    return { shared, options, carried: Object.fromEntries(carried) };
  }

  #report(id: number, event: RunEvent, at: number): void {
    if (event.kind === "handoff" || event.kind === "turn-end") return;
    if (event.kind === "turn-start") {
      this.#connection.send({ kind: "event", id, event: { ...event, at } });
      return;
    }
    if (event.kind === "step") {
      const { counters: _, ...rest } = event;
      this.#connection.send({ kind: "event", id, event: { ...rest, at } });
      return;
    }
    const { counters: _, tool: __, ...rest } = event;
    this.#connection.send({ kind: "event", id, event: { ...rest, at } });
  }

  async #answer(message: Turn, shared: SharedTurn, result: TurnResult): Promise<void> {
    const { id, run, turn, sends } = message;
    const packed = await Promise.all(
      shared.sends.map((planned) => {
        const carried = result.carried[planned.edge.id] as Carried;
        const dtype = sends.find(({ edge }) => edge === planned.edge.id)?.dtype ?? "float32";
        return packHandoff(carried, { ...planned, run, dtype });
      }),
    );
    const payload = joinPayload(packed);
    const { thoughts, ...rest } = result.summary;
    const small = thoughts && thoughts.data.byteLength <= MOST_THOUGHT_BYTES;
    const { answer = null, drawn, calls } = result;
    this.handoffBytes += payload.byteLength;
    this.#connection.send(
      {
        kind: "done",
        id,
        run,
        turn,
        summary: { ...rest, ...(small ? { thoughts } : {}) },
        answer,
        drawn,
        calls,
        handoffs: packed.map(({ header }) => header),
      },
      payload,
    );
  }
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new EngineError("cancelled", "cancelled");
}
