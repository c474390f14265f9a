/**
 * Downloads, verifies and caches the files of a built system.
 *
 * Every file that leaves this module has the sha256 that the manifest gives, whether it came from the network or the
 * cache. The cache is addressed by content, so systems that share an agent share its files, and a rebuilt file is a new
 * entry. A file that is read while it is downloaded goes from the network to its reader: its bytes are copied once, into
 * place, and hashed once. WebAssembly is compiled while it arrives.
 */
import { sha256 } from "./digest";
import { checkOk, type Fetch, fetchSoon, networkError, pause, pieces } from "./download";
import { EngineError, throwIfCancelled } from "./errors";
import { CACHE_URL, fromCache, keptResponse, partUrl, SilentCache } from "./kept";
import type { FileSpec } from "./system";

type Bytes = Uint8Array<ArrayBuffer>;

type FileCache = Pick<Cache, "match" | "put" | "delete">;

/** Where files come from and are kept; tests pass their own. */
interface ArtifactSources {
  readonly fetch: Fetch;
  /** If undefined, files stay in memory. */
  readonly cache: FileCache | undefined;
  /** Whether the files already are on this machine; each is then read and verified when it is needed. */
  readonly atHand?: boolean;
  /** The system's name, which the cache keeps with its files for people to read. */
  readonly owner?: string;
  /** Waits before it tries a broken download again. */
  readonly pause?: typeof pause;
}

/** Called as bytes arrive; negative if a download starts again. */
export type OnBytes = (file: FileSpec, bytes: number, cached: boolean) => void;

const PARALLEL_DOWNLOADS = 4;
/** Files that the cache has, too, wait for their readers in memory as long as they are not more than this. */
const MOST_WAITING_BYTES = 256 << 20;
/** A smaller file that was read once stays in memory for whoever reads it next. */
const SMALL_BYTES = 1 << 20;
/** Waits after each try in a row that brought nothing new. A wait ends early if the network is back. */
const PAUSES_MS = [300, 1000, 3000];

export class Artifacts {
  readonly #files: ReadonlyMap<string, FileSpec>;
  /** Files that wait for their readers, or that the cache could not take, by sha256. */
  readonly #memory = new Map<string, Bytes>();
  /** Those of them that the cache has, too. */
  readonly #spare = new Set<string>();
  /** Files that are being brought, by sha256: what settles when they are there. */
  readonly #coming = new Map<string, Promise<void>>();
  /** WebAssembly that was compiled as it arrived, by sha256; undefined if it could not be. */
  readonly #modules = new Map<string, Promise<WebAssembly.Module | undefined>>();
  #silent = false;

  /** @param base - URL of the manifest; paths are relative to it. */
  constructor(
    private readonly base: string,
    files: readonly FileSpec[],
    private readonly sources: ArtifactSources,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.#files = new Map(files.map((file) => [file.path, file]));
  }

  has(path: string): boolean {
    return this.#files.has(path);
  }

  /** The sha256 that the manifest gives for a file. */
  sha256(path: string): string {
    return this.#spec(path).sha256;
  }

  /**
   * Downloads files in order, several at a time. `read` then needs no network; until then it waits for its file.
   *
   * @param soon - whether the files are read as they arrive, so that they need not come back from the cache.
   */
  async downloadAll(paths: readonly string[], onBytes: OnBytes, soon = false): Promise<void> {
    const files = new Map<string, FileSpec[]>();
    for (const file of paths.map((path) => this.#spec(path)))
      files.set(file.sha256, [...(files.get(file.sha256) ?? []), file]);
    const arrivals = [...files.values()].map((same) => new Arrival(same));
    for (const { file, there } of arrivals) this.#coming.set(file.sha256, there);
    const waiting = [...arrivals];
    const stop = new AbortController();
    const signal = this.signal ? AbortSignal.any([this.signal, stop.signal]) : stop.signal;
    const failures: unknown[] = [];
    const worker = async (): Promise<void> => {
      try {
        for (let next = waiting.shift(); next && !signal.aborted; next = waiting.shift()) {
          await this.#bring(next.file, onBytes, signal, soon);
          for (const copy of next.copies) onBytes(copy, copy.sizeBytes, true);
          next.arrive();
        }
      } catch (error) {
        failures.push(error);
        stop.abort();
      }
    };
    // After a failure, the other downloads still keep what they have.
    await Promise.all(Array.from({ length: PARALLEL_DOWNLOADS }, worker));
    try {
      throwIfCancelled(this.signal);
      if (failures.length > 0) throw failures[0];
    } catch (error) {
      for (const arrival of arrivals) arrival.fail(error);
      throw error;
    }
  }

  /**
   * @returns the file's verified bytes.
   * @throws EngineError `corrupt-file`, `download` or `cancelled`.
   */
  async read(path: string): Promise<Bytes> {
    const file = this.#spec(path);
    await this.#coming.get(file.sha256);
    const held = this.#memory.get(file.sha256);
    if (held && this.#spare.delete(file.sha256)) this.#memory.delete(file.sha256);
    const bytes =
      held ?? (await this.#fromCache(file)) ?? (await this.#download(file, () => {}, this.signal, false));
    if (file.sizeBytes < SMALL_BYTES) this.#memory.set(file.sha256, bytes);
    return bytes;
  }

  /**
   * @returns a WebAssembly file, verified and compiled.
   * @throws as `read`, and whatever the browser throws for a file that is not WebAssembly.
   */
  async readModule(path: string): Promise<WebAssembly.Module> {
    const file = this.#spec(path);
    const bytes = await this.read(path);
    const compiled = await this.#modules.get(file.sha256);
    this.#modules.delete(file.sha256);
    this.release(path);
    return compiled ?? (await WebAssembly.compile(bytes));
  }

  async readText(path: string): Promise<string> {
    return new TextDecoder().decode(await this.read(path));
  }

  /** Drops a file that is held in memory. */
  release(path: string): void {
    this.#memory.delete(this.#spec(path).sha256);
  }

  #spec(path: string): FileSpec {
    const file = this.#files.get(path);
    if (!file)
      throw new EngineError(
        "bad-manifest",
        `'files' does not list ${path}; rebuild the system with 'rmas build'`,
      );
    return file;
  }

  async #bring(file: FileSpec, onBytes: OnBytes, signal: AbortSignal, soon: boolean): Promise<void> {
    if (this.sources.atHand) {
      onBytes(file, file.sizeBytes, true);
      return;
    }
    if (await this.#match(CACHE_URL + file.sha256)) {
      onBytes(file, file.sizeBytes, true);
      return;
    }
    const bytes = await this.#download(file, (count) => onBytes(file, count, false), signal, soon);
    const stored = await this.#store(file, bytes);
    if (stored && !(soon && this.#waitingBytes + bytes.byteLength <= MOST_WAITING_BYTES)) return;
    this.#memory.set(file.sha256, bytes);
    if (stored) this.#spare.add(file.sha256);
  }

  get #waitingBytes(): number {
    return [...this.#spare].reduce((sum, each) => sum + (this.#memory.get(each)?.byteLength ?? 0), 0);
  }

  /** Verifies cached bytes too. A damaged entry is deleted, and the file downloaded again. */
  async #fromCache(file: FileSpec): Promise<Bytes | undefined> {
    const url = CACHE_URL + file.sha256;
    const entry = await this.#match(url);
    if (!entry) return undefined;
    const bytes = await contentOf(entry);
    if (bytes && (await sha256(bytes)) === file.sha256) return bytes;
    await this.#delete(url);
    return undefined;
  }

  /** An entry of the cache; undefined if there is none, or the cache cannot be read. */
  async #match(url: string): Promise<Response | undefined> {
    return await this.#asked((cache) => cache.match(url));
  }

  /** A cache that cannot delete is no error: whatever it gives is verified. */
  async #delete(url: string): Promise<void> {
    await this.#asked((cache) => cache.delete(url));
  }

  /** Takes out of the cache the first bytes of a file, which an earlier load left there. */
  async #takePart(file: FileSpec): Promise<Bytes> {
    const url = partUrl(file);
    const entry = await this.#match(url);
    if (!entry) return new Uint8Array();
    const bytes = await contentOf(entry);
    await this.#delete(url);
    return bytes && bytes.byteLength < file.sizeBytes ? bytes : new Uint8Array();
  }

  /** @returns whether the cache took the file; a full disk, or a cache that never answers, is no error. */
  async #store(file: FileSpec, bytes: Bytes, url = CACHE_URL + file.sha256): Promise<boolean> {
    const { owner } = this.sources;
    const put = async (cache: FileCache): Promise<boolean> => {
      await cache.put(url, keptResponse(file, bytes, owner));
      return true;
    };
    return (await this.#asked(put)) ?? false;
  }

  /** What the cache answers; undefined if it fails, or there is none. A cache that did not answer is not asked again. */
  async #asked<T>(ask: (cache: FileCache) => Promise<T>): Promise<T | undefined> {
    const { cache } = this.sources;
    if (!cache || this.#silent) return undefined;
    try {
      return await fromCache(ask(cache));
    } catch (error) {
      this.#silent ||= error instanceof SilentCache;
      return undefined;
    }
  }

  async #download(
    file: FileSpec,
    onCount: (bytes: number) => void,
    signal: AbortSignal | undefined,
    compile: boolean,
  ): Promise<Bytes> {
    const part = await this.#takePart(file);
    let bytes = await this.#receive(file, part, onCount, signal, compile);
    let digest = await sha256(bytes);
    if (digest !== file.sha256 && part.byteLength > 0) {
      // The bytes that an earlier load left may be the damaged ones.
      onCount(-bytes.byteLength);
      bytes = await this.#receive(file, new Uint8Array(), onCount, signal, compile);
      digest = await sha256(bytes);
    }
    if (digest !== file.sha256) {
      throw new EngineError(
        "corrupt-file",
        `${file.path}: its sha256 is ${digest.slice(0, 12)}…, system.json says ${file.sha256.slice(0, 12)}…; ` +
          "the file is damaged or belongs to another build: rebuild or upload the system again",
      );
    }
    return bytes;
  }

  /**
   * Receives a file. After a broken connection it continues where the bytes ended, if the server can. If the network
   * does not come back, it keeps the bytes for the next load.
   *
   * @param part - the first bytes, which an earlier load left.
   */
  async #receive(
    file: FileSpec,
    part: Bytes,
    onCount: (bytes: number) => void,
    signal: AbortSignal | undefined,
    compile: boolean,
  ): Promise<Bytes> {
    const url = new URL(file.path, this.base).href;
    const compiling = compile && file.path.endsWith(".wasm") ? new StreamedModule() : undefined;
    if (compiling) this.#modules.set(file.sha256, compiling.module);
    const incoming = new Incoming(file, part, onCount, compiling);
    let furthest = incoming.received;
    for (let fruitless = 0; ; ) {
      try {
        await this.#continue(url, incoming, signal);
        return incoming.whole();
      } catch (error) {
        const wait = this.sources.atHand ? undefined : PAUSES_MS[fruitless];
        const final = error instanceof EngineError || signal?.aborted || wait === undefined;
        if (!final) await (this.sources.pause ?? pause)(wait, signal);
        if (final || signal?.aborted) {
          compiling?.giveUp();
          const damaged = error instanceof EngineError && error.code === "corrupt-file";
          if (!damaged && incoming.received > 0) await this.#store(file, incoming.soFar(), partUrl(file));
          throw error instanceof EngineError ? error : networkError(url, error, signal);
        }
      }
      fruitless = incoming.received > furthest ? 0 : fruitless + 1;
      furthest = Math.max(furthest, incoming.received);
    }
  }

  /** Requests the missing bytes of a file. */
  async #continue(url: string, incoming: Incoming, signal: AbortSignal | undefined): Promise<void> {
    const { received } = incoming;
    const headers: Record<string, string> = received > 0 ? { Range: `bytes=${received}-` } : {};
    // Our own cache keeps verified files. The browser's would keep them twice, or keep an older build.
    const init: RequestInit = { headers, cache: "no-store", ...(signal ? { signal } : {}) };
    // A browser's own `fetch` cannot be called as a method.
    const { fetch } = this.sources;
    const response = checkOk(url, await fetchSoon(url, init, fetch));
    if (response.status !== 206) incoming.restart();
    for await (const piece of pieces(response)) incoming.add(piece);
  }
}

/** The bytes of an entry of the cache; undefined if it cannot be read. */
async function contentOf(entry: Response): Promise<Bytes | undefined> {
  try {
    return new Uint8Array(await fromCache(entry.arrayBuffer()));
  } catch {
    return undefined;
  }
}

/** A file that is being received. */
class Incoming {
  readonly #target: Bytes;
  received = 0;

  constructor(
    private readonly file: FileSpec,
    part: Bytes,
    private readonly onCount: (bytes: number) => void,
    private readonly compiling: StreamedModule | undefined,
  ) {
    this.#target = new Uint8Array(file.sizeBytes);
    if (part.byteLength > 0) this.add(part);
  }

  add(piece: Uint8Array): void {
    if (this.received + piece.byteLength > this.#target.byteLength)
      throw wrongSize(this.file, `more than ${this.file.sizeBytes}`);
    this.#target.set(piece, this.received);
    this.compiling?.add(piece);
    this.received += piece.byteLength;
    this.onCount(piece.byteLength);
  }

  restart(): void {
    if (this.received > 0) {
      this.onCount(-this.received);
      this.compiling?.giveUp();
    }
    this.received = 0;
  }

  soFar(): Bytes {
    return this.#target.slice(0, this.received);
  }

  whole(): Bytes {
    if (this.received !== this.file.sizeBytes) {
      this.compiling?.giveUp();
      throw wrongSize(this.file, String(this.received));
    }
    this.compiling?.end();
    return this.#target;
  }
}

/** A file of `downloadAll`, and files of the same content. */
class Arrival {
  readonly file: FileSpec;
  readonly copies: readonly FileSpec[];
  readonly there: Promise<void>;
  arrive: () => void = () => {};
  /** Does nothing if the file has arrived. */
  fail: (reason: unknown) => void = () => {};

  constructor([file, ...copies]: readonly FileSpec[]) {
    this.file = file as FileSpec;
    this.copies = copies;
    this.there = new Promise((resolve, reject) => {
      this.arrive = resolve;
      this.fail = reject;
    });
    // Nobody may be waiting for it.
    this.there.catch(() => {});
  }
}

/** Compiles WebAssembly while its bytes arrive. Nothing of it runs before they are verified. */
class StreamedModule {
  /** Undefined if the bytes did not arrive in one go, or are no WebAssembly. */
  readonly module: Promise<WebAssembly.Module | undefined>;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor() {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
      },
    });
    const response = new Response(stream, { headers: { "content-type": "application/wasm" } });
    this.module = WebAssembly.compileStreaming(response).catch(() => undefined);
  }

  add(piece: Uint8Array): void {
    this.#controller?.enqueue(piece);
  }

  end(): void {
    this.#controller?.close();
    this.#controller = undefined;
  }

  giveUp(): void {
    this.#controller?.error(new Error("the download starts again"));
    this.#controller = undefined;
  }
}

function wrongSize(file: FileSpec, came: string): EngineError {
  return new EngineError(
    "corrupt-file",
    `${file.path}: got ${came} bytes, system.json says ${file.sizeBytes}; rebuild or upload the system again`,
  );
}
