import { createHash } from "node:crypto";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { loadSystem, readSystem, type WorkerPort } from "../../src/engine/api";
import { NO_COUNTS } from "../../src/engine/counters";
import { EngineError } from "../../src/engine/errors";
import type { FromWorker, ToWorker } from "../../src/engine/messages";
import type { LoadProgress, RunEvent } from "../../src/engine/types";
import { failure, says } from "./errors";
import { manifestJson, system } from "./fixtures";

beforeAll(() => {
  Object.assign(globalThis, { location: { href: "https://host.test/app/" } });
});

const DEVICE = {
  runtime: "webgpu" as const,
  vendor: "",
  architecture: "",
  description: "",
  fallback: true,
  features: [],
};

/** A worker whose answers a test decides. */
class FakePort implements WorkerPort {
  readonly sent: ToWorker[] = [];
  terminated = false;
  onmessage: WorkerPort["onmessage"] = null;
  onerror: WorkerPort["onerror"] = null;

  constructor(private readonly answer: (message: ToWorker, port: FakePort) => void) {}

  postMessage(message: ToWorker): void {
    this.sent.push(message);
    queueMicrotask(() => this.answer(message, this));
  }
  terminate(): void {
    this.terminated = true;
  }
  say(message: FromWorker): void {
    // Messages between page and worker are cloned.
    this.onmessage?.({ data: structuredClone(message) } as MessageEvent<FromWorker>);
  }
}

const loaded = { system: system(), device: DEVICE, questions: [] };
const error = new EngineError("gpu-validation", "refused").toWire();

/** Answers `load` at once, and leaves other requests to `then`. */
const port = (then: (message: ToWorker, port: FakePort) => void = () => {}) =>
  new FakePort((message, self) => {
    if (message.kind === "load") self.say({ kind: "done", id: message.id, result: loaded });
    else then(message, self);
  });

describe("the page's side of the worker", () => {
  test("resolves URLs against the page and hands on settings that are data", async () => {
    const worker = port();
    const handle = await loadSystem("dist/system.json", { cache: false, onProgress: () => {} }, worker);
    expect(worker.sent[0]).toEqual({
      kind: "load",
      id: 1,
      params: { url: "https://host.test/app/dist/system.json", settings: { cache: false } },
    });
    expect(handle.system.name).toBe("ring");
  });

  test("passes a run's events on in order, then its result", async () => {
    const event = (step: number): RunEvent => ({ kind: "step", round: 0, agent: "a", step, of: 2, ms: 1 });
    const worker = port((message, self) => {
      if (message.kind !== "run") return;
      self.say({ kind: "event", id: message.id, event: event(0) });
      self.say({ kind: "event", id: message.id, event: event(1) });
      self.say({ kind: "done", id: message.id, result: NO_COUNTS });
    });
    const seen: RunEvent[] = [];
    const handle = await loadSystem("s.json", {}, worker);
    await handle.run({ question: "q" }, { onEvent: (each) => seen.push(each) });
    expect(seen).toEqual([event(0), event(1)]);
  });

  test("keeps an error's code on the way from the worker", async () => {
    const worker = port((message, self) => {
      if (message.kind === "run") self.say({ kind: "failed", id: message.id, error });
    });
    const handle = await loadSystem("s.json", {}, worker);
    expect(await failure(() => handle.run({ question: "q" }))).toMatch(says("gpu-validation", "refused"));
  });

  test("cancels a run by its signal", async () => {
    const controller = new AbortController();
    const worker = port((message, self) => {
      if (message.kind === "run") controller.abort();
      if (message.kind === "cancel")
        self.say({ kind: "failed", id: message.id, error: { code: "cancelled", message: "cancelled" } });
    });
    const handle = await loadSystem("s.json", {}, worker);
    expect(await failure(() => handle.run({ question: "q" }, { signal: controller.signal }))).toMatch(
      says("cancelled", ""),
    );
    expect(worker.sent.at(-1)).toEqual({ kind: "cancel", id: 2 });
  });

  test("ends agents that do not stop when a run is cancelled", async () => {
    vi.useFakeTimers();
    const controller = new AbortController();
    const worker = port();
    const handle = await loadSystem("s.json", {}, worker);
    const run = failure(() => handle.run({ question: "q" }, { signal: controller.signal }));
    controller.abort();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(await run).toMatch(says("device-lost", "did not stop within 30 seconds"));
    expect(await failure(() => handle.lost)).toMatch(says("device-lost", "load the system again"));
    expect(worker.terminated).toBe(true);
    vi.useRealTimers();
  });

  test("ends agents that do not free their memory when they are told to", async () => {
    vi.useFakeTimers();
    const worker = port();
    const handle = await loadSystem("s.json", {}, worker);
    const disposed = failure(() => handle.dispose());
    await vi.advanceTimersByTimeAsync(30_000);
    expect(await disposed).toMatch(says("device-lost", "did not stop within 30 seconds"));
    expect(worker.terminated).toBe(true);
    vi.useRealTimers();
  });

  test("sends nothing when the signal fired before", async () => {
    const worker = port();
    const handle = await loadSystem("s.json", {}, worker);
    expect(await failure(() => handle.run({ question: "q" }, { signal: AbortSignal.abort() }))).toMatch(
      says("cancelled", ""),
    );
    expect(worker.sent).toHaveLength(1);
  });

  test("ends the worker when loading fails", async () => {
    const worker = new FakePort((message, self) => {
      if (message.kind === "load")
        self.say({ kind: "failed", id: message.id, error: { code: "no-webgpu", message: "none" } });
    });
    expect(await failure(() => loadSystem("s.json", {}, worker))).toMatch(says("no-webgpu", "none"));
    expect(worker.terminated).toBe(true);
  });

  test("ends the worker at once when a load is cancelled, and lets no more progress through", async () => {
    const progress: LoadProgress = {
      phase: "compile",
      label: "",
      loadedBytes: 1,
      totalBytes: 1,
      cachedBytes: 0,
      fraction: 0.6,
    };
    const worker = new FakePort((message, self) => {
      if (message.kind !== "load") return;
      self.say({ kind: "progress", id: message.id, progress });
      self.say({ kind: "progress", id: message.id, progress });
    });
    const controller = new AbortController();
    const seen: LoadProgress[] = [];
    const onProgress = (each: LoadProgress): void => {
      seen.push(each);
      controller.abort();
    };
    const load = () => loadSystem("s.json", { signal: controller.signal, onProgress }, worker);
    expect(await failure(load)).toMatch(says("cancelled", "while loading"));
    expect(seen).toHaveLength(1);
    expect(worker.terminated).toBe(true);
  });

  test("says when the device is lost, and fails what is under way when the worker breaks", async () => {
    const worker = port((message, self) => {
      if (message.kind === "run") self.onerror?.({ message: "out of stack" } as ErrorEvent);
    });
    const handle = await loadSystem("s.json", {}, worker);
    expect(await failure(() => handle.run({ question: "q" }))).toMatch(says("internal", "out of stack"));
    expect(await failure(() => handle.lost)).toMatch(says("internal", "out of stack"));
    expect(await failure(() => handle.counters())).toMatch(says("internal", "out of stack"));
  });

  test("says that the worker's script is missing", async () => {
    const worker = new FakePort((_, self) => self.onerror?.(new Event("error") as ErrorEvent));
    expect(await failure(() => loadSystem("s.json", {}, worker))).toMatch(
      says("download", "worker could not be loaded"),
    );
  });

  test("ends the worker when the system is disposed", async () => {
    const worker = port((message, self) => {
      if (message.kind === "dispose") self.say({ kind: "done", id: message.id, result: NO_COUNTS });
    });
    const handle = await loadSystem("s.json", {}, worker);
    expect(await handle.dispose()).toEqual(NO_COUNTS);
    expect(worker.terminated).toBe(true);
    expect(await failure(() => handle.run({ question: "q" }))).toMatch(says("busy", "disposed"));
  });
});

test("a manifest is fetched once: its digest is that of the bytes, and the worker gets what was read", async () => {
  const bytes = new TextEncoder().encode(JSON.stringify(manifestJson()));
  const fetch = vi.fn(async () => new Response(bytes));
  vi.stubGlobal("fetch", fetch);
  vi.stubGlobal("navigator", {});
  try {
    const read = await readSystem("dist/system.json");
    expect(read.sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
    const worker = port();
    await loadSystem("dist/system.json", { system: read }, worker);
    expect(fetch).toHaveBeenCalledTimes(1);
    expect(worker.sent[0]).toMatchObject({ params: { settings: { system: read } } });
  } finally {
    vi.unstubAllGlobals();
  }
});
