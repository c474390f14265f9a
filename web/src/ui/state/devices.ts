/** Several devices in one system: this page leads others, or takes turns for the one that invited it. */
import { batch, computed, effect, type ReadonlySignal, signal } from "@preact/signals";
import {
  type Device,
  type HeldAgent,
  type Hello,
  type Holder,
  type Invitation,
  invite,
  join,
  Leader,
  Member,
  oneLine,
  PROTOCOL,
  type Reply,
  type Transfer,
} from "../../devices/api";
import { EngineError, type Mode, type RunResult, type System, sha256 } from "../../engine/api";
import type { Asked, Recording } from "../model/recording";
import { Job } from "./job";
import type { ReadOnly } from "./read-only";
import type { Session } from "./session";

/** An invitation on its way: the code is being made, waits for a reply, or the devices are connecting. */
export type Inviting =
  | { readonly state: "making" }
  | { readonly state: "waiting" | "connecting"; readonly code: string };

/** On the invited device: the reply is being made, waits to be carried back, or the invitation was refused. */
export type Joining =
  | { readonly state: "asked" | "making" }
  | { readonly state: "waiting"; readonly code: string };

/** What an invited device shows. */
export interface Membership {
  readonly leader: string | undefined;
  readonly health: Member["health"];
  readonly wanted: readonly string[];
  readonly acts: string | undefined;
  readonly turns: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** One mode's run on the same devices. */
export interface Measured {
  readonly mode: Mode;
  readonly recording: Recording & { readonly result: RunResult };
  /** Bytes of hand-offs that crossed channels, and how many did. */
  readonly bytes: number;
  readonly crossings: number;
  /** Time in which some device computed. */
  readonly computingMs: number;
}

const MODES: readonly Mode[] = ["latent", "text"];
const NAME_KEY = "recursivemas-device-name";
const STUN_KEY = "recursivemas-stun";
const ID_KEY = "recursivemas-device";

export class Devices {
  readonly role = signal<"alone" | "leader" | "member">("alone");
  /** What people call this device. */
  readonly name = signal(remembered(NAME_KEY) ?? browserName());
  /** Address of a STUN server; empty: none is asked. */
  readonly stun = signal(remembered(STUN_KEY) ?? "");
  readonly inviting = signal<Inviting | undefined>(undefined);
  readonly joining = signal<Joining | undefined>(undefined);
  readonly problem = signal<string | undefined>(undefined);
  /** Of the device that leads: all devices, this one first. */
  readonly devices = signal<readonly Device[]>([]);
  /** By agent id: the device that is to hold it. */
  readonly places = signal<ReadonlyMap<string, string>>(new Map());
  readonly transfers = signal<readonly Transfer[]>([]);
  /** The agent that the run waits for. */
  readonly waitsFor = signal<string | undefined>(undefined);
  readonly membership = signal<Membership | undefined>(undefined);
  readonly job: ReadOnly<Job>;
  /** Latent against text on these devices. */
  readonly measured = signal<readonly Measured[]>([]);
  /** The agents that are loaded here. */
  readonly held: ReadonlySignal<readonly HeldAgent[]>;
  readonly id = deviceId();
  #leader: Leader | undefined;
  #member: Member | undefined;
  #invitation: Invitation | undefined;
  #reply: Reply | undefined;
  /** An invitation that the page's address carries, or that the visitor pasted. */
  #code: string | undefined;
  #frame = 0;

  constructor(private readonly session: Session) {
    this.job = new Job(session);
    this.held = computed(() => {
      const handle = session.handle.value;
      const only = session.agents.peek();
      if (!handle) return [];
      const agents = handle.system.agents.filter(({ id }) => only?.includes(id) ?? true);
      return agents.map(({ id, dtype }) => ({ id, dtype }));
    });
    effect(() => {
      // Everybody learns when agents were loaded or freed here.
      this.held.value;
      this.#leader?.refresh();
      this.#member?.refresh();
    });
  }

  rename(name: string): void {
    this.name.value = oneLine(name, 40) || browserName();
    remember(NAME_KEY, this.name.value);
  }

  setStun(address: string): void {
    this.stun.value = address.trim();
    remember(STUN_KEY, this.stun.value);
  }

  /** Makes an invitation. This device then leads. */
  async invite(): Promise<void> {
    const system = this.session.system.value;
    if (!system) return;
    this.#begin();
    this.inviting.value = { state: "making" };
    try {
      await this.#lead(system);
      const invitation = await invite(this.stun.value);
      this.#invitation = invitation;
      this.inviting.value = { state: "waiting", code: invitation.code };
    } catch (error) {
      this.inviting.value = undefined;
      this.#fail(error);
    }
  }

  /** Takes the reply of the invited device. */
  async accept(reply: string): Promise<void> {
    const invitation = this.#invitation;
    const shown = this.inviting.value;
    if (!invitation || shown?.state !== "waiting") return;
    this.problem.value = undefined;
    this.inviting.value = { state: "connecting", code: shown.code };
    try {
      const channel = await invitation.accept(reply);
      // From here on the connection is the leader's; the next invitation must not end it.
      if (this.#invitation === invitation) this.#invitation = undefined;
      this.#leader?.connect(channel, (reason) => this.#fail(new EngineError("bad-peer", reason)));
      this.inviting.value = undefined;
    } catch (error) {
      this.#fail(error);
      // A reply that was not whole can be copied again; one that led nowhere needs a new invitation.
      if (this.#invitation === invitation) this.inviting.value = { state: "waiting", code: shown.code };
    }
  }

  cancelInvitation(): void {
    this.#invitation?.cancel();
    this.#invitation = undefined;
    this.inviting.value = undefined;
    this.problem.value = undefined;
  }

  /** Keeps an invitation until the visitor agrees to it. Nothing is loaded meanwhile. */
  consider(code: string): void {
    if (this.role.value === "leader") {
      this.problem.value = "This page leads other devices already. Open the invitation on another device.";
      return;
    }
    this.leave();
    this.#code = code;
    this.joining.value = { state: "asked" };
    this.session.hold([]);
  }

  /** Answers the invitation. */
  async join(): Promise<void> {
    const system = this.session.system.value;
    const code = this.#code;
    if (!system || code === undefined) return;
    this.#begin();
    this.joining.value = { state: "making" };
    try {
      const me = await this.#hello(system);
      const reply = await join(code, this.stun.value);
      this.#reply = reply;
      this.joining.value = { state: "waiting", code: reply.code };
      const channel = await reply.channel;
      if (this.#reply !== reply) return channel.close();
      const member: Member = new Member(
        system,
        me,
        channel,
        () => this.#holder(),
        () => this.#draw(),
      );
      batch(() => {
        this.#member = member;
        this.role.value = "member";
        this.joining.value = undefined;
        this.#show();
      });
    } catch (error) {
      this.joining.value = { state: "asked" };
      this.#fail(error);
    }
  }

  /** Ends everything with other devices. The agents that are loaded stay, if they are all of them. */
  leave(): void {
    this.#invitation?.cancel();
    this.#reply?.cancel();
    this.#leader?.close();
    this.#member?.leave();
    this.job.cancel();
    this.#leader = undefined;
    this.#member = undefined;
    this.#invitation = undefined;
    this.#reply = undefined;
    this.#code = undefined;
    const partial = this.session.agents.value !== undefined;
    batch(() => {
      this.role.value = "alone";
      this.inviting.value = undefined;
      this.joining.value = undefined;
      this.problem.value = undefined;
      this.measured.value = [];
      this.session.shared.value = undefined;
      this.session.hold(undefined);
      this.#show();
    });
    if (partial) void this.#reload(false);
  }

  /** Gives an agent to a device. */
  assign(agent: string, device: string): void {
    const leader = this.#leader;
    if (!leader) return;
    leader.assign(agent, device);
    const mine = leader.agentsOf(this.id);
    const loaded = this.held.value.map(({ id }) => id);
    const missing = mine.some((id) => !loaded.includes(id));
    // What is loaded already stays until the visitor frees it; what is missing is loaded now if the others were.
    if (this.session.phase.value === "ready" && !missing) return;
    const wanted = this.session.phase.value === "ready" ? true : this.session.phase.value === "loading";
    this.session.hold(mine.length === leader.system.agents.length ? undefined : mine);
    if (wanted) void this.#reload(true);
  }

  /** Frees the agents that other devices hold now. */
  free(): void {
    const mine = this.#leader?.agentsOf(this.id) ?? [];
    this.session.hold(mine);
    void this.#reload(true);
  }

  /** Sends a device away. */
  dismiss(device: string): void {
    this.#leader?.dismiss(device);
  }

  /** On an invited device: loads the agents that it is asked to hold. */
  async holdWanted(): Promise<void> {
    this.session.hold(this.#member?.wanted ?? []);
    await this.#reload(true);
  }

  /** Runs the question in latent and in text mode. */
  async compare(asked: Asked): Promise<void> {
    this.measured.value = [];
    await this.job.start(async (run) => {
      for (const mode of MODES) {
        const options = { ...asked.options, mode, trace: { handoffs: true, thoughts: true, lensTopK: 5 } };
        const ended = await run(options);
        const transfers = this.#leader?.transfers ?? [];
        const measured: Measured = {
          mode,
          recording: { ...asked, options, ...ended },
          bytes: transfers.reduce((sum, { bytes }) => sum + bytes, 0),
          crossings: transfers.length,
          computingMs: ended.result.turns.reduce((sum, { ms }) => sum + ms, 0),
        };
        this.measured.value = [...this.measured.value, measured];
      }
    });
  }

  /** Forgets what was measured, because another question, system or other links are open now. */
  clear(): void {
    this.job.drop();
    this.measured.value = [];
    // Devices agree on files; with others, everybody must begin anew.
    if (this.role.value !== "alone" || this.inviting.value || this.#reply) this.leave();
  }

  #begin(): void {
    this.problem.value = undefined;
    this.#invitation?.cancel();
    this.#reply?.cancel();
  }

  async #lead(system: System): Promise<void> {
    if (this.#leader) return;
    const me = await this.#hello(system);
    const leader = new Leader(
      system,
      me,
      () => this.#holder(),
      () => this.#draw(),
    );
    batch(() => {
      this.#leader = leader;
      this.role.value = "leader";
      this.session.shared.value = (options, hooks) => leader.run(options, hooks);
      this.#show();
    });
  }

  #holder(): Holder {
    return { holds: this.held.value, perform: (request, hooks) => this.session.turn(request, hooks) };
  }

  async #hello(system: System): Promise<Hello> {
    const own = this.session.links.value?.text;
    const links =
      own === undefined
        ? system.files.find(({ path }) => path === system.links)?.sha256
        : await sha256(new TextEncoder().encode(own));
    if (system.sha256 === undefined || links === undefined)
      throw new EngineError("bad-manifest", "the fingerprint of this system is not known; open it again");
    const device = this.session.handle.value?.device;
    const gpu = device?.description || [device?.vendor, device?.architecture].filter(Boolean).join(" ");
    return {
      kind: "hello",
      protocol: PROTOCOL,
      device: this.id,
      name: this.name.value,
      gpu: oneLine(gpu, 200),
      manifest: system.sha256,
      links,
    };
  }

  async #reload(load: boolean): Promise<void> {
    await this.session.reload(load);
    this.#show();
  }

  #fail(error: unknown): void {
    this.problem.value = EngineError.from(error).message;
  }

  /** Many packets may arrive between two frames of the screen; one drawing is enough. */
  #draw(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#show();
    });
  }

  #show(): void {
    const leader = this.#leader;
    const member = this.#member;
    batch(() => {
      this.devices.value = distinct(leader?.devices ?? []);
      this.places.value = new Map(
        (leader?.system.agents ?? []).map(({ id }) => [id, leader?.placeOf(id) ?? this.id]),
      );
      this.transfers.value = leader?.transfers ?? [];
      this.waitsFor.value = leader?.waitsFor;
      this.membership.value = member && {
        leader: member.leader,
        health: member.health,
        wanted: member.wanted,
        acts: member.acts,
        turns: member.turns,
        sentBytes: member.sentBytes,
        receivedBytes: member.receivedBytes,
      };
      if (member?.health === "closed")
        this.problem.value = member.reason ?? "The device that leads is gone. Ask it for a new invitation.";
    });
  }
}

/** Numbers devices that are called the same. */
function distinct(devices: readonly Device[]): readonly Device[] {
  return devices.map((device, index) => {
    const before = devices.slice(0, index).filter(({ name }) => name === device.name).length;
    return before === 0 ? device : { ...device, name: `${device.name} (${before + 1})` };
  });
}

/** The part of an address that holds an invitation. It is never sent to a server. */
const IN_ADDRESS = "#join=";

/** @returns an address that opens this page, this system and the invitation. */
export function invitationLink(query: string, code: string): string {
  const { origin, pathname } = window.location;
  return `${origin}${pathname}${query === "" ? "" : `?${query}`}${IN_ADDRESS}${code}`;
}

/** Takes an invitation out of the page's address, where it is of no use a second time. */
export function takeInvitation(): string | undefined {
  const { hash, pathname, search } = window.location;
  if (!hash.startsWith(IN_ADDRESS)) return undefined;
  window.history.replaceState(window.history.state, "", `${pathname}${search}`);
  return hash.slice(IN_ADDRESS.length);
}

function remembered(key: string): string | undefined {
  try {
    return window.localStorage.getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}

function remember(key: string, value: string): void {
  try {
    window.localStorage.setItem(key, value);
  } catch {
    // In a private window it holds until the page is closed.
  }
}

/** The same while the tab lives, so that others know the device when it comes back. */
function deviceId(): string {
  const fresh = globalThis.crypto?.randomUUID?.() ?? "unknown-device";
  try {
    const known = window.sessionStorage.getItem(ID_KEY);
    if (known && /^[\w-]{8,64}$/.test(known)) return known;
    window.sessionStorage.setItem(ID_KEY, fresh);
  } catch {
    // The device is then a new one after a reload.
  }
  return fresh;
}

/** A first name for the device, such as “Chrome on Android”. */
function browserName(): string {
  const { userAgent = "" } = globalThis.navigator ?? {};
  const browser =
    ["Firefox", "Edg", "Chrome", "Safari"].find((each) => userAgent.includes(each)) ?? "Browser";
  const system = ["Android", "iPhone", "iPad", "Windows", "Mac", "CrOS", "Linux"].find((each) =>
    userAgent.includes(each),
  );
  return `${browser.replace("Edg", "Edge")}${system ? ` on ${system}` : ""}`;
}
