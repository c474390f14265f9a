/**
 * A stand-in for the engine, for work on the page without a GPU or built systems. Only test/ui/vite.config.ts builds it;
 * the shipped page does not contain it. Its thoughts and answers are made up.
 */
import {
  type Carried,
  type Counters,
  EngineError,
  type Matrix,
  type RunEvent,
  type RunOptions,
  type RunResult,
  type System,
  type SystemHandle,
  type TaskQuestion,
  type TokenProbability,
  type TurnRequest,
  type TurnResult,
  type TurnSummary,
} from "../../src/engine/api";
import type { Backend } from "../../src/ui/state/backend";
import { parseRing } from "../../src/ui/task/hop";
import { factSystem, fakeSystem } from "./fake-system";

const SYMBOLS = "abcdefghijkl".split("");
const KINDS = [">", "~", "-"];
const WAYS = ["road", "ferry", "rail"];
const COUNTERS: Counters = {
  syncs: 1,
  readbackBytes: 0,
  dispatches: 40,
  submits: 4,
  uploadBytes: 128,
  liveBytes: 21_400_000,
  peakBytes: 22_000_000,
};

/** How the stand-in behaves; read from the page's query by dev.ts. */
export interface FakeOptions {
  /** Time a step takes. */
  readonly stepMs: number;
  /** Fails on loading or running with this code. */
  readonly fail: string | null;
  readonly failWhen: "load" | "run";
  readonly pattern: string;
  /** What a token takes, as the page measures it. Default: 50. */
  readonly paceMs?: number;
}

function random(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function shuffled<T>(items: readonly T[], next: () => number): T[] {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [out[i], out[j]] = [out[j] as T, out[i] as T];
  }
  return out;
}

export function fakeQuestions(count: number): TaskQuestion[] {
  const next = random(7);
  return Array.from({ length: count }, (_, index) => {
    const ring = shuffled(SYMBOLS, next);
    const hops = 1 + (index % 9);
    const edges = shuffled(
      ring.map((symbol, place) => `${symbol}${KINDS[place % 3]}${ring[(place + 1) % ring.length]}`),
      next,
    );
    return {
      question: `${edges.join(" ")} ? ${ring[0]}@${hops}`,
      answer: ring[hops % ring.length] ?? "",
      group: String(hops),
      fields: {},
    };
  });
}

/** Questions of `factSystem`. */
export function factQuestions(count: number): TaskQuestion[] {
  const people = ["Anna Keller", "Tom Hart", "Rosa Kim", "Ivo Santos"];
  const places = ["Buenos Aires", "Oslo", "Ulm", "San José"];
  return Array.from({ length: count }, (_, index) => {
    const [one, other] = [people[index % 4], people[(index + 1) % 4]];
    return {
      question: `Where does ${one}'s boss live?`,
      answer: places[index % 4] ?? "",
      group: "2",
      fields: {
        reader_facts: `${other} lives in ${places[index % 4]}. ${one} lives in ${places[(index + 2) % 4]}.`,
        solver_facts: `${one}'s boss is ${other}. ${other}'s boss is ${people[(index + 3) % 4]}.`,
      },
    };
  });
}

function vector(size: number, next: () => number, towards?: Float32Array): Float32Array {
  return Float32Array.from(
    { length: size },
    (_, i) => (towards ? (towards[i] ?? 0) * 0.7 : 0) + next() - 0.5,
  );
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** One made-up run. */
class FakeRun {
  readonly #turns: TurnSummary[] = [];
  readonly #handoffs: RunResult["handoffs"][number][] = [];
  readonly #next: () => number;
  #place = 0;
  #decoded = 0;
  #steps = 0;

  constructor(
    private readonly system: System,
    private readonly options: RunOptions,
    private readonly fake: FakeOptions,
    private readonly emit: (event: RunEvent) => void,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.#next = random(
      options.question.length * 31 + (options.rounds ?? 1) * 7 + options.question.charCodeAt(0),
    );
  }

  async perform(): Promise<RunResult> {
    const began = performance.now();
    const { mode = "latent", rounds = 3, latentSteps = 2 } = this.options;
    const agents = this.system.agents;
    const alone = mode === "single" || mode === "loop";
    let answer = "";
    for (let round = 0; round < (alone ? 1 : rounds); round++) {
      for (const agent of alone ? agents.slice(-1) : agents) {
        const answers = agent === agents.at(-1) && (alone || round === rounds - 1);
        const steps =
          mode === "single" ? 0 : mode === "loop" ? rounds * latentSteps * agents.length : latentSteps;
        const turn = await this.#turn(agent, round, steps, mode === "text", answers);
        if (answers) answer = turn;
      }
    }
    return {
      answer,
      stopReason: "stop-token",
      mode,
      rounds,
      latentSteps,
      decodedTokens: this.#decoded,
      answerTokenIds: [1],
      totalLatentSteps: this.#steps,
      ms: performance.now() - began,
      turns: this.#turns,
      handoffs: this.#handoffs,
      counters: COUNTERS,
    };
  }

  async #turn(
    agent: System["agents"][number],
    round: number,
    steps: number,
    text: boolean,
    answers: boolean,
  ): Promise<string> {
    const began = performance.now();
    const of = steps;
    const latentRows = text ? 0 : steps;
    let forwardPositions = 27 + latentRows;
    this.emit({ kind: "turn-start", round, agent: agent.id, promptTokens: 27, latentRows });
    const lens: TokenProbability[][] = [];
    const rows: Float32Array[] = [];
    let said = "";
    for (let step = 0; step < steps; step++) {
      await this.#wait();
      const state = this.#hop(this.system.agents.indexOf(agent));
      rows.push(vector(agent.hiddenSize, this.#next, rows.at(-1)));
      if (step > 0) forwardPositions += 1;
      if (text) {
        said += `${state} `;
        this.#decoded += 1;
        this.emit({
          kind: "token",
          round,
          agent: agent.id,
          tokenId: step,
          text: `${state} `,
          answer: false,
          forwardPositions,
          ms: 1,
        });
      } else {
        const likely = this.#likely(state);
        lens.push(likely);
        this.#steps += 1;
        const read = this.options.lensEachStep ? { lens: likely } : {};
        this.emit({ kind: "step", round, agent: agent.id, step, of, forwardPositions, ms: 1, ...read });
      }
    }
    let answer = "";
    if (answers) {
      await this.#wait();
      answer = this.#symbol();
      this.#decoded += 1;
      // R_in of the last thought, and the answer's prefix.
      if (steps > 0) forwardPositions += 2;
      this.emit({
        kind: "token",
        round,
        agent: agent.id,
        tokenId: 1,
        text: answer,
        answer: true,
        forwardPositions,
        ms: 1,
      });
    } else {
      for (const edge of this.system.edges.filter(
        ({ id, from }) => from === agent.id && (this.options.edges ?? [id]).includes(id),
      )) {
        const handoff = {
          round,
          edge: edge.id,
          from: edge.from,
          to: edge.to,
          rows: text ? 0 : steps,
          ...(text ? { text: said } : { states: matrix(rows) }),
        };
        this.#handoffs.push(handoff);
        this.emit({ kind: "handoff", ...handoff });
      }
    }
    const turn: TurnSummary = {
      round,
      agent: agent.id,
      promptTokens: 27,
      latentSteps: text ? 0 : steps,
      decodedTokens: text ? steps : answers ? 1 : 0,
      forwardPositions,
      // As the engine: the answer alone, without a thought before it.
      text: answers ? answer : said,
      ms: performance.now() - began,
      counters: COUNTERS,
      ...(text || steps === 0 ? {} : { lens, thoughts: matrix(rows) }),
    };
    this.#turns.push(turn);
    this.emit({ kind: "turn-end", ...turn });
    return answer;
  }

  async #wait(): Promise<void> {
    await pause(this.fake.stepMs);
    if (this.signal?.aborted) throw new EngineError("cancelled", "cancelled");
    if (this.fake.fail && this.fake.failWhen === "run" && this.#steps > 4) {
      throw new EngineError(
        this.fake.fail as "internal",
        `the stand-in was told to fail with ${this.fake.fail}`,
      );
    }
  }

  /** Each agent knows one kind of way, and stays where another begins. */
  #hop(agent: number): string {
    const ring = parseRing(this.options.question);
    if (!ring) return [" it", " seems", " that", " Oslo", " perhaps"][this.#steps % 5] ?? " it";
    if (ring.ways[this.#place % ring.ring.length] === WAYS[agent] && this.#place < ring.hops)
      this.#place += 1;
    return `${ring.ring[this.#place % ring.ring.length]}@${ring.hops - this.#place}`;
  }

  #symbol(): string {
    const ring = parseRing(this.options.question);
    return ring
      ? (ring.ring[this.#place % ring.ring.length] ?? "?")
      : "A made-up answer, since nothing thinks here.";
  }

  #likely(state: string): TokenProbability[] {
    const best = 0.72 + 0.27 * this.#next();
    const others = ["b@3", "k@9", "q@1", "t"].map((text, index) => ({
      tokenId: 100 + index,
      text,
      probability: ((1 - best) * (0.6 - 0.13 * index)) / 1.6,
    }));
    return [{ tokenId: 7, text: state, probability: best }, ...others];
  }
}

function matrix(rows: readonly Float32Array[]): Matrix {
  const columns = rows[0]?.length ?? 0;
  const data = new Float32Array(rows.length * columns);
  rows.forEach((each, index) => {
    data.set(each, index * columns);
  });
  return { rows: rows.length, columns, data };
}

export function fakeBackend(fake: FakeOptions): Backend {
  const system = fakeSystem(fake.pattern);
  const systemAt = (url: string): System =>
    url.includes("/b/") ? fakeSystem("mixture") : url.includes("/c/") ? factSystem() : system;
  return {
    readCatalog: async () => [
      {
        name: system.name,
        description: system.description,
        pattern: system.pattern,
        url: "https://fake.invalid/a/system.json",
        sizeBytes: 16_420_000,
      },
      {
        name: "hop-mixture",
        description: "Two experts and a summarizer.",
        pattern: "mixture",
        url: "https://fake.invalid/b/system.json",
        sizeBytes: 15_100_000,
      },
      {
        name: "split-facts",
        description: factSystem().description,
        pattern: "deliberation",
        url: "https://fake.invalid/c/system.json",
        sizeBytes: 111_000_000,
      },
    ],
    readSystem: async (url) => {
      await pause(30);
      return systemAt(String(url));
    },
    loadSystem: async (url, options = {}) => {
      const loaded = systemAt(String(url));
      const totalBytes = loaded.files.reduce((sum, file) => sum + file.sizeBytes, 0);
      let loadedBytes = 0;
      for (const file of loaded.files) {
        for (let part = 0; part < 4; part++) {
          await pause(fake.stepMs / 6);
          if (options.signal?.aborted) throw new EngineError("cancelled", "cancelled");
          loadedBytes += file.sizeBytes / 4;
          options.onProgress?.({
            phase: "download",
            label: file.path,
            loadedBytes,
            totalBytes,
            cachedBytes: 0,
            fraction: (0.6 * loadedBytes) / totalBytes,
          });
        }
      }
      if (fake.fail && fake.failWhen === "load") {
        throw new EngineError(fake.fail as "internal", `the stand-in was told to fail with ${fake.fail}`);
      }
      return handleOf(loaded, fake);
    },
  };
}

/** One turn of the run that the stand-in would make, told at its own pace. */
async function takeTurn(
  system: System,
  { options, turn, drawn, calls }: TurnRequest,
  fake: FakeOptions,
  emit: (event: RunEvent) => void,
): Promise<TurnResult> {
  const events: RunEvent[] = [];
  const whole = new FakeRun(
    system,
    options,
    { ...fake, stepMs: 0 },
    (event) => events.push(event),
    undefined,
  );
  const { turns, answer, answerTokenIds, stopReason } = await whole.perform();
  const starts = events.flatMap(({ kind }, at) => (kind === "turn-start" ? [at] : []));
  const carried: Record<string, Carried> = {};
  for (const event of events.slice(starts[turn], starts[turn + 1])) {
    if (event.kind === "step" || event.kind === "token") await pause(fake.stepMs);
    if (event.kind === "handoff") {
      const { edge, to, rows, text } = event;
      // The stand-in's whole runs hand over the sender's rows; devices check that they have the receiver's size.
      const columns = system.agents.find(({ id }) => id === to)?.hiddenSize ?? 0;
      const data = Float32Array.from({ length: rows * columns }, (_, place) => Math.sin(place + turn));
      carried[edge] = text === undefined ? { rows: { rows, columns, data } } : { text };
    }
    emit(event);
  }
  const last = turn === turns.length - 1;
  return {
    summary: turns[turn] as TurnSummary,
    carried,
    ...(last ? { answer: { text: answer, tokenIds: answerTokenIds, stopReason } } : {}),
    drawn,
    calls,
  };
}

function handleOf(system: System, fake: FakeOptions): SystemHandle {
  return {
    system,
    device: {
      runtime: "webgpu",
      vendor: "made up",
      architecture: "",
      description: "a stand-in, not a GPU",
      fallback: false,
      features: [],
    },
    questions: system.name === "split-facts" ? factQuestions(200) : fakeQuestions(360),
    lost: new Promise(() => {}),
    run: (options, hooks = {}) =>
      new FakeRun(system, options, fake, hooks.onEvent ?? (() => {}), hooks.signal).perform(),
    turn: (request, hooks = {}) => takeTurn(system, request, fake, hooks.onEvent ?? (() => {})),
    paces: async () => Object.fromEntries(system.agents.map(({ id }) => [id, fake.paceMs ?? 50])),
    counters: async () => ({ ...COUNTERS, bindGroups: 0, writes: 0, passes: 0, positions: 0 }),
    dispose: async () => ({ ...COUNTERS, liveBytes: 0 }),
  };
}
