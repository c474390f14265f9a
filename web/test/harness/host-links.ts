/**
 * Links in JavaScript, with the hidden state read back at every latent step.
 *
 * This is how the recursiveMASWebLLM playground works. `python -m bench browser` compares it with the compiled links,
 * and a browser test checks that both compute the same.
 */
import { added } from "../../src/engine/counters";
import type { Engine } from "../../src/engine/engine";
import type { Links } from "../../src/engine/links";
import type { Part, Performer, Rows } from "../../src/engine/performer";
import { type PlannedTurn, planPrompts, planRun } from "../../src/engine/plan";
import { applyInner, applyOuter } from "../../src/engine/processor/links";
import type { EdgeSpec } from "../../src/engine/system";
import { createTick } from "../../src/engine/tick";
import type { Counters, HandoffSummary, RunEvent, RunOptions, RunResult } from "../../src/engine/types";

/** The part of a run's result that the benchmark and the test read. */
export interface HostRun extends Pick<RunResult, "answerTokenIds" | "handoffs" | "counters"> {
  readonly turns: readonly { readonly ms: number; readonly counters: Counters }[];
  readonly events: readonly RunEvent[];
}

/** Answers a question in latent mode, greedily. */
export async function runOnHostLinks(engine: Engine, links: Links, options: RunOptions): Promise<HostRun> {
  return await new HostLinkedRun(engine, links, options).perform();
}

class HostLinkedRun {
  readonly #plan;
  readonly #prompts;
  readonly #tick = createTick();
  /** Rows that wait for their reader, by edge id. */
  readonly #carried = new Map<string, Rows>();
  readonly #turns: { ms: number; counters: Counters }[] = [];
  readonly #handoffs: HandoffSummary[] = [];
  readonly #events: RunEvent[] = [];

  constructor(
    private readonly engine: Engine,
    private readonly links: Links,
    options: RunOptions,
  ) {
    this.#plan = planRun(engine.system, options);
    this.#prompts = planPrompts(engine.system, options);
  }

  async perform(): Promise<HostRun> {
    const spent = this.#clock();
    let answerTokenIds: readonly number[] = [];
    for (const turn of this.#plan.turns) {
      const spentHere = this.#clock();
      answerTokenIds = await this.#perform(turn, this.#agent(turn.agent));
      this.#turns.push(spentHere());
    }
    for (const states of this.#carried.values()) states.free();
    this.#tick.close();
    return {
      answerTokenIds,
      handoffs: this.#handoffs,
      counters: spent().counters,
      turns: this.#turns,
      events: this.#events,
    };
  }

  /** @returns the tokens of the answer; none if the turn does not answer. */
  async #perform(turn: PlannedTurn<EdgeSpec>, agent: Performer): Promise<readonly number[]> {
    agent.begin();
    this.#feedPrompt(turn, agent);
    const thoughts = await this.#rollOut(turn, agent);
    if (!turn.answers) {
      for (const edge of turn.sends) this.#handOff(turn.round, edge, thoughts);
      await agent.sync();
      return [];
    }
    const { answerPrefix, maxNewTokens } = this.#plan.settings.decoding;
    const last = thoughts.at(-1);
    if (last) feedRow(agent, this.#inner(agent, last));
    const ids = agent.tokenizer.encode(answerPrefix);
    if (ids.length > 0) agent.feed([{ kind: "tokens", ids }], "logits");
    agent.logits();
    return await decode(agent, maxNewTokens);
  }

  #feedPrompt({ round, agent: id }: PlannedTurn, agent: Performer): void {
    const parts = this.#prompts(id, round).flatMap((segment): Part[] => {
      if (segment.kind === "text") return [{ kind: "tokens", ids: agent.tokenizer.encode(segment.text) }];
      const states = this.#carried.get(segment.edge);
      return states ? [{ kind: "states", states }] : [];
    });
    agent.feed(parts, "hidden");
  }

  /** h_1 … h_M, each read back as soon as it is computed. */
  async #rollOut({ round, latentSteps }: PlannedTurn, agent: Performer): Promise<Float32Array[]> {
    const thoughts: Float32Array[] = [];
    for (let step = 0; step < latentSteps; step++) {
      const spent = this.#clock();
      const before = thoughts.at(-1);
      if (before) feedRow(agent, this.#inner(agent, before));
      thoughts.push(await readHidden(agent));
      this.#events.push({ kind: "step", round, agent: agent.spec.id, step, of: latentSteps, ...spent() });
      await this.#tick.wait();
    }
    return thoughts;
  }

  #handOff(round: number, edge: EdgeSpec, thoughts: readonly Float32Array[]): void {
    const link = found(this.links.outer, edge.id);
    const [sender, receiver] = [this.#agent(edge.from), this.#agent(edge.to)];
    const columns = receiver.spec.hiddenSize;
    const data = new Float32Array(thoughts.length * columns);
    for (const [row, thought] of thoughts.entries())
      data.set(applyOuter(link, this.links.variant, this.#inner(sender, thought)), row * columns);
    this.#carried.get(edge.id)?.free();
    this.#carried.set(edge.id, receiver.uploadStates(data));
    const { id, from, to } = edge;
    const states = { rows: thoughts.length, columns, data };
    this.#handoffs.push({ round, edge: id, from, to, rows: thoughts.length, states });
  }

  #inner(agent: Performer, hidden: Float32Array): Float32Array<ArrayBuffer> {
    return applyInner(found(this.links.inner, agent.spec.id), this.links.variant, hidden);
  }

  #agent(id: string): Performer {
    return found(this.engine.agents, id);
  }

  #clock(): () => { ms: number; counters: Counters } {
    const started = performance.now();
    const before = this.engine.counters();
    return () => ({ ms: performance.now() - started, counters: added(this.engine.counters(), before) });
  }
}

function found<T>(named: ReadonlyMap<string, T>, name: string): T {
  const value = named.get(name);
  if (value === undefined)
    throw new Error(`there is no '${name}'; there are ${[...named.keys()].join(", ")}`);
  return value;
}

async function readHidden(agent: Performer): Promise<Float32Array> {
  const row = agent.createThoughts(1);
  try {
    agent.recordThought(row, 0);
    return (await row.read()).data;
  } finally {
    row.free();
  }
}

function feedRow(agent: Performer, row: Float32Array<ArrayBuffer>): void {
  const states = agent.uploadStates(row);
  agent.feed([{ kind: "states", states }], "hidden");
  states.free();
}

async function decode(agent: Performer, limit: number): Promise<readonly number[]> {
  const ids: number[] = [];
  for (;;) {
    const id = await agent.pick({
      temperature: 0,
      topP: 1,
      topK: 0,
      repetitionPenalty: 1,
      written: ids,
      uniform: 0,
    });
    if (agent.spec.stopTokenIds.includes(id)) return ids;
    ids.push(id);
    if (ids.length === limit) return ids;
    agent.decode(id);
  }
}
