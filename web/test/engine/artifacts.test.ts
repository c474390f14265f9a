import { createHash } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import { Artifacts } from "../../src/engine/artifacts";
import type { FileSpec } from "../../src/engine/system";
import { failure, says } from "./errors";
import { FakeCache } from "./fake-cache";

const BASE = "https://host.test/sub/dist/system.json";
const bytes = (size: number, value = 7): Uint8Array<ArrayBuffer> => new Uint8Array(size).fill(value);
const specOf = (path: string, content: Uint8Array): FileSpec => ({
  path,
  sizeBytes: content.byteLength,
  sha256: createHash("sha256").update(content).digest("hex"),
});

const pause = async (): Promise<void> => {};

const ok = (content: Uint8Array<ArrayBuffer>) =>
  vi.fn(async (_url: string, _init?: RequestInit) => new Response(content));

describe("a system's files", () => {
  test("are fetched relative to the manifest, verified, and then come from the cache", async () => {
    const content = bytes(100);
    const file = specOf("a/x.bin", content);
    const fetch = ok(content);
    const cache = new FakeCache();
    const progress: [number, boolean][] = [];
    const open = () => new Artifacts(BASE, [file], { fetch, cache }, undefined);
    await open().downloadAll(["a/x.bin"], (_, count, cached) => progress.push([count, cached]));
    expect(await open().read("a/x.bin")).toEqual(content);
    expect(fetch.mock.calls.map(([url]) => url)).toEqual(["https://host.test/sub/dist/a/x.bin"]);
    await open().downloadAll(["a/x.bin"], (_, count, cached) => progress.push([count, cached]));
    expect(fetch).toHaveBeenCalledTimes(1);
    expect(progress).toEqual([
      [100, false],
      [100, true],
    ]);
  });

  test("with another sha256 are refused, and nothing is cached", async () => {
    const file = specOf("w.bin", bytes(10, 1));
    const cache = new FakeCache();
    const artifacts = new Artifacts(BASE, [file], { fetch: ok(bytes(10, 2)), cache }, undefined);
    expect(await failure(() => artifacts.downloadAll(["w.bin"], () => {}))).toMatch(
      says("corrupt-file", "w.bin: its sha256 is"),
    );
    expect(cache.entries.size).toBe(0);
  });

  test.each([
    [9, "got 9 bytes"],
    [11, "got more than 10 bytes"],
  ])("of another size are refused: %i bytes instead of 10", async (size, message) => {
    const artifacts = new Artifacts(
      BASE,
      [specOf("w.bin", bytes(10))],
      { fetch: ok(bytes(size)), cache: undefined },
      undefined,
    );
    expect(await failure(() => artifacts.read("w.bin"))).toMatch(says("corrupt-file", message));
  });

  test("that were damaged in the cache are fetched anew", async () => {
    const content = bytes(10);
    const file = specOf("w.bin", content);
    const cache = new FakeCache();
    const fetch = ok(content);
    const artifacts = new Artifacts(BASE, [file], { fetch, cache }, undefined);
    await artifacts.downloadAll(["w.bin"], () => {});
    const [key] = cache.entries.keys();
    cache.entries.set(key as string, bytes(10, 9));
    expect(await artifacts.read("w.bin")).toEqual(content);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  test("stay in memory when the cache is full, until they are released", async () => {
    const content = bytes(10);
    const cache = new FakeCache();
    cache.full = true;
    const fetch = ok(content);
    const artifacts = new Artifacts(BASE, [specOf("w.bin", content)], { fetch, cache }, undefined);
    await artifacts.downloadAll(["w.bin"], () => {});
    expect(await artifacts.read("w.bin")).toEqual(content);
    expect(fetch).toHaveBeenCalledTimes(1);
    artifacts.release("w.bin");
    await artifacts.read("w.bin");
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  test("whose download breaks are taken up where they broke", async () => {
    const content = Uint8Array.from({ length: 100 }, (_, i) => i);
    const ranges: (string | null)[] = [];
    const fetch = async (_url: string, init?: RequestInit): Promise<Response> => {
      const range = new Headers(init?.headers).get("Range");
      ranges.push(range);
      if (range) return new Response(content.slice(40), { status: 206 });
      return new Response(broken([content.slice(0, 40)]));
    };
    const artifacts = new Artifacts(
      BASE,
      [specOf("w.bin", content)],
      { fetch, cache: undefined, pause },
      undefined,
    );
    expect(await artifacts.read("w.bin")).toEqual(content);
    expect(ranges).toEqual([null, "bytes=40-"]);
  });

  test("go on when the network comes back, and later from what came before it went", async () => {
    const content = Uint8Array.from({ length: 100 }, (_, i) => i);
    const ranges: (string | null)[] = [];
    /** Sends ten bytes per connection, which then breaks; the `failing` requests get no connection. */
    const flaky = (failing: number) => async (_url: string, init?: RequestInit) => {
      const range = new Headers(init?.headers).get("Range");
      ranges.push(range);
      const from = Number(range?.match(/\d+/)?.[0] ?? 0);
      if (ranges.length > 3 && ranges.length <= 3 + failing) throw new TypeError("Failed to fetch");
      const status = range ? 206 : 200;
      return from === 90
        ? new Response(content.slice(90), { status })
        : new Response(broken([content.slice(from, from + 10)]), { status });
    };
    const cache = new FakeCache();
    const waits: number[] = [];
    const counts: number[] = [];
    const load = (failing: number) => {
      ranges.length = 0;
      counts.length = 0;
      const wait = async (ms: number): Promise<void> => void waits.push(ms);
      const sources = { fetch: flaky(failing), cache, pause: wait };
      const artifacts = new Artifacts(BASE, [specOf("w.bin", content)], sources, undefined);
      return artifacts.downloadAll(["w.bin"], (_, count) => counts.push(count));
    };
    expect(await failure(() => load(100))).toMatch(says("download", "Failed to fetch"));
    expect(waits).toEqual([300, 300, 300, 300, 1000, 3000]);
    expect([...cache.entries.values()]).toEqual([content.slice(0, 30)]);
    await load(2);
    expect(ranges[0]).toBe("bytes=30-");
    expect(counts.reduce((a, b) => a + b)).toBe(100);
    expect([...cache.entries.values()]).toEqual([content]);
  });

  test("are fetched whole when what was kept of them is wrong", async () => {
    const content = bytes(100);
    const file = specOf("w.bin", content);
    const cache = new FakeCache();
    cache.entries.set(`https://files.recursivemas.invalid/${file.sha256}.part`, bytes(30, 1));
    const fetch = vi.fn(async (_url: string, init?: RequestInit) =>
      new Headers(init?.headers).has("Range")
        ? new Response(content.slice(30), { status: 206 })
        : new Response(content),
    );
    const counts: number[] = [];
    const artifacts = new Artifacts(BASE, [file], { fetch, cache }, undefined);
    await artifacts.downloadAll(["w.bin"], (_, count) => counts.push(count));
    expect(fetch).toHaveBeenCalledTimes(2);
    expect(counts.reduce((a, b) => a + b)).toBe(100);
    expect([...cache.entries.values()]).toEqual([content]);
  });

  test("stop waiting for the network when the load is cancelled", async () => {
    const controller = new AbortController();
    const fetch = async (): Promise<Response> => {
      setTimeout(() => controller.abort(), 5);
      throw new TypeError("Failed to fetch");
    };
    const sources = { fetch, cache: undefined };
    const artifacts = new Artifacts(BASE, [specOf("w.bin", bytes(10))], sources, controller.signal);
    // The clock stands still after the cancellation, so waiting for another attempt would never end.
    vi.useFakeTimers();
    try {
      const stopped = failure(() => artifacts.downloadAll(["w.bin"], () => {}));
      await vi.advanceTimersByTimeAsync(5);
      expect(await stopped).toMatch(says("cancelled", ""));
    } finally {
      vi.useRealTimers();
    }
  });

  test.each([
    [
      "bring nothing more",
      (content: Uint8Array<ArrayBuffer>) => new Response(stalling(content.slice(0, 40))),
    ],
    ["are never answered", () => new Promise<Response>(() => {})],
  ])("whose requests %s are requested again", async (_, first) => {
    const content = Uint8Array.from({ length: 100 }, (_, i) => i);
    const requests: RequestInit[] = [];
    const fetch = async (_url: string, init: RequestInit = {}): Promise<Response> => {
      requests.push(init);
      if (requests.length === 1) return await first(content);
      const from = Number(new Headers(init.headers).get("Range")?.match(/\d+/)?.[0] ?? 0);
      return new Response(content.slice(from), { status: from > 0 ? 206 : 200 });
    };
    const sources = { fetch, cache: undefined, pause };
    vi.useFakeTimers();
    try {
      const reading = new Artifacts(BASE, [specOf("w.bin", content)], sources, undefined).read("w.bin");
      await vi.advanceTimersByTimeAsync(29_000);
      expect(requests).toHaveLength(1);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(await reading).toEqual(content);
    } finally {
      vi.useRealTimers();
    }
    expect(requests).toHaveLength(2);
  });

  test("that stall again and again are given up with what came kept", async () => {
    const content = bytes(100);
    const cache = new FakeCache();
    const fetch = async (_url: string, init?: RequestInit): Promise<Response> =>
      new Headers(init?.headers).has("Range")
        ? new Response(stalling(new Uint8Array()), { status: 206 })
        : new Response(stalling(content.slice(0, 40)));
    vi.useFakeTimers();
    try {
      const sources = { fetch, cache, pause };
      const artifacts = new Artifacts(BASE, [specOf("w.bin", content)], sources, undefined);
      const given = failure(() => artifacts.downloadAll(["w.bin"], () => {}));
      await vi.advanceTimersByTimeAsync(200_000);
      expect(await given).toMatch(says("download", "nothing arrived for 30 seconds"));
    } finally {
      vi.useRealTimers();
    }
    expect([...cache.entries.values()]).toEqual([content.slice(0, 40)]);
  });

  const never = () => new Promise<never>(() => {});
  const refused = async (): Promise<never> => {
    throw new DOMException("an internal error", "UnknownError");
  };
  test.each([
    ["cannot be read", { match: refused, put: refused, delete: refused }],
    ["never answers", { match: never, put: never, delete: never }],
    [
      "has entries that cannot be read",
      { match: async () => new Response(broken([])), put: refused, delete: refused },
    ],
  ])("come from the network when the browser's cache %s", async (_, cache) => {
    const content = bytes(10);
    const fetch = ok(content);
    vi.useFakeTimers();
    try {
      const artifacts = new Artifacts(BASE, [specOf("w.bin", content)], { fetch, cache }, undefined);
      const reading = artifacts.downloadAll(["w.bin"], () => {}).then(() => artifacts.read("w.bin"));
      await vi.advanceTimersByTimeAsync(31_000);
      expect(await reading).toEqual(content);
    } finally {
      vi.useRealTimers();
    }
    expect(fetch).toHaveBeenCalledTimes(1);
  });

  test("start again when the server does not do ranges", async () => {
    const content = Uint8Array.from({ length: 100 }, (_, i) => i);
    let calls = 0;
    const fetch = async (): Promise<Response> => {
      calls += 1;
      return new Response(calls === 1 ? broken([content.slice(0, 40)]) : content);
    };
    const counts: number[] = [];
    const artifacts = new Artifacts(
      BASE,
      [specOf("w.bin", content)],
      { fetch, cache: undefined, pause },
      undefined,
    );
    await artifacts.downloadAll(["w.bin"], (_, count) => counts.push(count));
    expect(counts.reduce((a, b) => a + b)).toBe(100);
    expect(counts).toContain(-40);
  });

  test("that cannot be fetched say which and why", async () => {
    const file = specOf("w.bin", bytes(10));
    const missing = async () => new Response("", { status: 404, statusText: "Not Found" });
    const offline = async (): Promise<Response> => {
      throw new TypeError("Failed to fetch");
    };
    const read = (fetch: typeof missing) =>
      failure(() => new Artifacts(BASE, [file], { fetch, cache: undefined, pause }, undefined).read("w.bin"));
    expect(await read(missing)).toMatch(says("download", "w.bin: the server answered 404 Not Found"));
    expect(await read(offline)).toMatch(says("download", "could not be fetched (Failed to fetch)"));
  });

  test.each([
    [401, "make it public"],
    [403, "make it public"],
    [404, "the file is not there"],
    [410, "the file is not there"],
    [429, "wait a few minutes"],
    [500, "the server itself has a problem"],
    [503, "the server itself has a problem"],
  ])("that the server answers with %i say what that means", async (status, part) => {
    const sources = { fetch: async () => new Response("", { status }), cache: undefined, pause };
    const artifacts = new Artifacts(BASE, [specOf("w.bin", bytes(10))], sources, undefined);
    const said = await failure(() => artifacts.read("w.bin"));
    expect(said).toMatch(says("download", `w.bin: the server answered ${status}; `));
    expect(said).toContain(part);
  });

  test("cannot be checked on plain http, which is told as such", async () => {
    const content = bytes(10);
    const sources = { fetch: ok(content), cache: undefined };
    const artifacts = new Artifacts(BASE, [specOf("w.bin", content)], sources, undefined);
    vi.stubGlobal("crypto", {});
    try {
      expect(await failure(() => artifacts.read("w.bin"))).toMatch(
        says("insecure-page", "https or localhost"),
      );
    } finally {
      vi.unstubAllGlobals();
    }
  });

  test("stop coming when the load is cancelled", async () => {
    const controller = new AbortController();
    const fetch = async (_url: string, init?: RequestInit): Promise<Response> => {
      controller.abort();
      init?.signal?.throwIfAborted();
      return new Response(bytes(10));
    };
    const files = ["a.bin", "b.bin"].map((path) => specOf(path, bytes(10)));
    const artifacts = new Artifacts(BASE, files, { fetch, cache: undefined }, controller.signal);
    expect(await failure(() => artifacts.downloadAll(["a.bin", "b.bin"], () => {}))).toMatch(
      says("cancelled", "cancelled"),
    );
  });

  test("that the manifest does not list are never fetched", async () => {
    const fetch = ok(bytes(1));
    const artifacts = new Artifacts(BASE, [], { fetch, cache: undefined }, undefined);
    expect(await failure(() => artifacts.read("evil.wasm"))).toMatch(
      says("bad-manifest", "does not list evil.wasm"),
    );
    expect(fetch).not.toHaveBeenCalled();
  });
});

/** A body that brings this and then nothing, without an end. */
function stalling(piece: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({ start: (controller) => controller.enqueue(piece) });
}

/** A body that ends in a network error after these pieces. */
function broken(pieces: readonly Uint8Array<ArrayBuffer>[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  const waiting = [...pieces];
  return new ReadableStream({
    pull(controller) {
      const next = waiting.shift();
      if (next) controller.enqueue(next);
      else controller.error(new TypeError("network error"));
    },
  });
}

describe("files that are read while they arrive", () => {
  const WASM = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);

  /** A server that answers when it is told to. */
  function slowServer(contents: Readonly<Record<string, Uint8Array<ArrayBuffer>>>) {
    const answers = new Map<string, (response: Response) => void>();
    const fetch = vi.fn(
      (url: string) =>
        new Promise<Response>((resolve) => {
          answers.set(url.slice(url.lastIndexOf("/") + 1), resolve);
        }),
    );
    const answer = async (name: string): Promise<void> => {
      await vi.waitFor(() => expect(answers.has(name)).toBe(true));
      answers.get(name)?.(new Response(contents[name]));
    };
    return { fetch, answer };
  }

  test("come from the network, hashed once and never read back, in the order of their arrival", async () => {
    const contents = { "a.bin": bytes(2_000_000, 1), "b.bin": bytes(2_000_000, 2) };
    const files = Object.entries(contents).map(([path, content]) => specOf(path, content));
    const server = slowServer(contents);
    const cache = new FakeCache();
    const match = vi.spyOn(cache, "match");
    const digest = vi.spyOn(crypto.subtle, "digest");
    const artifacts = new Artifacts(BASE, files, { fetch: server.fetch, cache }, undefined);
    const all = artifacts.downloadAll(["a.bin", "b.bin"], () => {}, true);
    const [a, b] = [artifacts.read("a.bin"), artifacts.read("b.bin")];
    await server.answer("b.bin");
    const same = (one: Uint8Array, other: Uint8Array): void => expect(Buffer.compare(one, other)).toBe(0);
    same(await b, contents["b.bin"]);
    await server.answer("a.bin");
    same(await a, contents["a.bin"]);
    await all;
    expect(digest).toHaveBeenCalledTimes(2);
    // Once to see whether it is there, once for a part of it.
    expect(match).toHaveBeenCalledTimes(4);
    expect(cache.entries.size).toBe(2);
    // Nobody holds them any more: the next reader gets them from the cache, verified.
    same(await artifacts.read("a.bin"), contents["a.bin"]);
    expect(digest).toHaveBeenCalledTimes(3);
    digest.mockRestore();
  });

  test("of the same content are downloaded once", async () => {
    const content = bytes(10);
    const fetch = ok(content);
    const files = ["a.bin", "b.bin"].map((path) => specOf(path, content));
    const artifacts = new Artifacts(BASE, files, { fetch, cache: undefined }, undefined);
    const progress: [string, number, boolean][] = [];
    const onBytes = (file: FileSpec, count: number, cached: boolean): unknown =>
      progress.push([file.path, count, cached]);
    await artifacts.downloadAll(["a.bin", "b.bin"], onBytes, true);
    expect(await artifacts.read("b.bin")).toEqual(content);
    expect(fetch).toHaveBeenCalledTimes(1);
    expect(progress).toEqual([
      ["a.bin", 10, false],
      ["b.bin", 10, true],
    ]);
  });

  test("fail for their readers as the download fails", async () => {
    const files = [specOf("a.bin", bytes(10)), specOf("b.bin", bytes(11))];
    const fetch = async (): Promise<Response> => new Response(null, { status: 404 });
    const artifacts = new Artifacts(BASE, files, { fetch, cache: undefined }, undefined);
    const all = failure(() => artifacts.downloadAll(["a.bin", "b.bin"], () => {}, true));
    const readers = ["a.bin", "b.bin"].map((path) => failure(() => artifacts.read(path)));
    for (const each of [all, ...readers]) expect(await each).toMatch(says("download", "404"));
  });

  test("are compiled as they arrive if they are WebAssembly", async () => {
    const streaming = vi.spyOn(WebAssembly, "compileStreaming");
    const compile = vi.spyOn(WebAssembly, "compile");
    const file = specOf("x.wasm", WASM);
    const artifacts = new Artifacts(BASE, [file], { fetch: ok(WASM), cache: undefined }, undefined);
    const all = artifacts.downloadAll(["x.wasm"], () => {}, true);
    expect(await artifacts.readModule("x.wasm")).toBeInstanceOf(WebAssembly.Module);
    await all;
    expect([streaming.mock.calls.length, compile.mock.calls.length]).toEqual([1, 0]);
    const [, again] = [
      await all,
      new Artifacts(BASE, [file], { fetch: ok(WASM), cache: undefined }, undefined),
    ];
    expect(await again.readModule("x.wasm")).toBeInstanceOf(WebAssembly.Module);
    expect(compile).toHaveBeenCalledTimes(1);
    streaming.mockRestore();
    compile.mockRestore();
  });

  test("are not trusted before they are verified, even if they compile", async () => {
    const file = specOf("x.wasm", Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 1));
    const artifacts = new Artifacts(BASE, [file], { fetch: ok(WASM), cache: undefined }, undefined);
    const all = failure(() => artifacts.downloadAll(["x.wasm"], () => {}, true));
    expect(await failure(() => artifacts.readModule("x.wasm"))).toMatch(says("corrupt-file", "x.wasm"));
    expect(await all).toMatch(says("corrupt-file", "x.wasm"));
  });
});
