/**
 * Agents that compute nothing. A hidden state is a word that says where it comes from, and a log lists the calls, so
 * that a test can follow a run by hand.
 */
import { NO_COUNTS } from "../../src/engine/counters";
import type { Part, Performer, Rows } from "../../src/engine/performer";
import type { Stage } from "../../src/engine/recursion";
import type { AgentSpec, System } from "../../src/engine/system";
import type { Matrix, TokenProbability } from "../../src/engine/types";

/** The calls of all agents, and how many matrices are not freed yet. */
export class Log {
  readonly lines: string[] = [];
  alive = 0;
}

/** Rows that say where they come from. */
class FakeStates implements Rows {
  freed = false;
  constructor(
    private readonly log: Log,
    readonly values: string[],
    readonly columns: number,
  ) {
    log.alive += 1;
  }
  get rows(): number {
    return this.values.length;
  }
  read = async (): Promise<Matrix> => ({
    rows: this.rows,
    columns: this.columns,
    data: new Float32Array(this.rows * this.columns),
  });
  free(): void {
    if (!this.freed) this.log.alive -= 1;
    this.freed = true;
  }
}

export interface FakeOptions {
  /** The tokens that `pick` gives, one list for each decoding; the stop token follows. */
  readonly decodes?: number[][];
  readonly contextWindowSize?: number;
  /** Whether agents keep the tokens that their prompts begin with, up to a mark. */
  readonly keeps?: boolean;
}

/** Token ids are character codes. */
export class FakeAgent implements Performer {
  position = 0;
  /** Positions that were fed in all turns. */
  computed = 0;
  readonly keepsMarksOnly = false;
  #leading: number[] = [];
  #leads = false;
  readonly contextWindowSize: number;
  readonly tokenizer = {
    encode: (text: string): number[] => [...text].map((char) => char.charCodeAt(0)),
    decode: (ids: readonly number[]): string => String.fromCharCode(...ids),
    tokenText: (id: number): string => String.fromCharCode(id),
  };
  #last = "";
  #pending: number[] = [];

  constructor(
    readonly spec: AgentSpec,
    private readonly log: Log,
    private readonly options: FakeOptions,
  ) {
    this.contextWindowSize = options.contextWindowSize ?? 1000;
  }

  begin(leading: readonly number[] = [], marks: readonly number[] = []): number {
    const kept = this.options.keeps
      ? (marks.findLast((mark) => leading.slice(0, mark).join() === this.#leading.slice(0, mark).join()) ?? 0)
      : 0;
    this.position = kept;
    this.#leading = leading.slice(0, kept);
    this.#leads = true;
    this.#note(kept > 0 ? `begin after ${kept}` : "begin");
    return kept;
  }

  forget(): void {
    this.#leading = [];
    this.#note("forget");
  }

  feed(parts: readonly Part[], want: "hidden" | "logits"): void {
    const shown = parts.map((part) => {
      if (part.kind === "tokens") return JSON.stringify(this.tokenizer.decode(part.ids));
      const states = part.states as FakeStates;
      if (states.freed) throw new Error("fed freed states");
      return `[${states.values.join(" ")}]`;
    });
    for (const part of parts) {
      this.#leads &&= part.kind === "tokens";
      if (part.kind === "tokens" && this.#leads) this.#leading.push(...part.ids);
      this.#add(part.kind === "tokens" ? part.ids.length : part.states.rows);
    }
    this.#note(`feed ${shown.join(" ")} for ${want}`);
    this.#last = `${this.spec.id}1`;
    this.#pending = [];
    if (want === "logits") this.logits();
  }

  think(): void {
    this.#add(1);
    this.#leads = false;
    this.#note("think");
    this.#last = `${this.spec.id}${Number(this.#last.slice(1)) + 1}`;
  }

  createThoughts(rows: number): Rows {
    return this.#states(Array(rows).fill("?"));
  }

  recordThought(thoughts: Rows, row: number): void {
    (thoughts as FakeStates).values[row] = this.#last;
  }

  innerLink(thoughts: Rows): Rows {
    return this.#states((thoughts as FakeStates).values.map((value) => `in(${value})`));
  }

  outerLink(edge: string, states: Rows, targetSize: number): Rows {
    this.#note(`hand over ${edge}`);
    return this.#states(
      (states as FakeStates).values.map((value) => `${edge}(${value})`),
      targetSize,
    );
  }

  uploadStates(values: Float32Array): Rows {
    const size = this.spec.hiddenSize;
    return this.#states(
      Array.from({ length: values.length / size }, (_, row) => `up(${values[row * size]})`),
    );
  }

  logits(): void {
    if (this.#pending.length === 0) this.#pending = [...(this.options.decodes?.shift() ?? []), 0];
  }

  pick = async (): Promise<number> => this.#pending.shift() ?? 0;

  decode(id: number): void {
    this.#add(1);
    this.#leads = false;
    this.#note(`decode ${id}`);
  }

  lens = async (states: Rows, k: number): Promise<TokenProbability[][]> =>
    Array.from({ length: states.rows }, () => Array(k).fill({ tokenId: 0, text: "", probability: 0.5 }));

  sync = async (): Promise<void> => this.#note("sync");

  #states(values: string[], columns = this.spec.hiddenSize): Rows {
    return new FakeStates(this.log, values, columns);
  }

  #add(positions: number): void {
    this.position += positions;
    this.computed += positions;
  }

  #note(what: string): void {
    this.log.lines.push(`${this.spec.id} ${what}`);
  }
}

/** A stage of fake agents. */
export interface FakeStage extends Stage {
  readonly agents: ReadonlyMap<string, FakeAgent>;
}

export function fakeStage(system: System, log: Log, options: FakeOptions = {}, resident = true): FakeStage {
  let clock = 0;
  const agents = new Map(system.agents.map((spec) => [spec.id, new FakeAgent(spec, log, options)]));
  return {
    system,
    agents,
    enter: async (id) => agents.get(id) as FakeAgent,
    resident,
    counters: { snapshot: () => NO_COUNTS, since: () => NO_COUNTS },
    tick: async () => {},
    now: () => clock++,
    fetch: async () => new Response(null, { status: 404 }),
  };
}
