/**
 * Downloads, verifies and caches the files of a built system.
 *
 * Every file that leaves this module has the sha256 that the manifest gives, whether it came from the network or the
 * cache. The cache is addressed by content, so systems that share an agent share its files, and a rebuilt file is a new
 * entry.
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
type OnBytes = (file: FileSpec, bytes: number, cached: boolean) => void;

const PARALLEL_DOWNLOADS = 4;
/** Waits after each try in a row that brought nothing new. A wait ends early if the network is back. */
const PAUSES_MS = [300, 1000, 3000];

export class Artifacts {
  readonly #files: ReadonlyMap<string, FileSpec>;
  /** Files that the cache could not take, by sha256. */
  readonly #memory = new Map<string, Bytes>();
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

  /** Downloads files, several at a time. `read` then needs no network. */
  async downloadAll(paths: readonly string[], onBytes: OnBytes): Promise<void> {
    const waiting = paths.map((path) => this.#spec(path));
    const stop = new AbortController();
    const signal = this.signal ? AbortSignal.any([this.signal, stop.signal]) : stop.signal;
    const failures: unknown[] = [];
    const worker = async (): Promise<void> => {
      try {
        for (let file = waiting.shift(); file && !signal.aborted; file = waiting.shift())
          await this.#bring(file, onBytes, signal);
      } catch (error) {
        failures.push(error);
        stop.abort();
      }
    };
    // After a failure, the other downloads still keep what they have.
    await Promise.all(Array.from({ length: PARALLEL_DOWNLOADS }, worker));
    throwIfCancelled(this.signal);
    if (failures.length > 0) throw failures[0];
  }

  /**
   * @returns the file's verified bytes.
   * @throws EngineError `corrupt-file`, `download` or `cancelled`.
   */
  async read(path: string): Promise<Bytes> {
    const file = this.#spec(path);
    const held = this.#memory.get(file.sha256);
    if (held) return held;
    const cached = await this.#fromCache(file);
    return cached ?? (await this.#download(file, () => {}, this.signal));
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

  async #bring(file: FileSpec, onBytes: OnBytes, signal: AbortSignal): Promise<void> {
    if (this.sources.atHand) {
      onBytes(file, file.sizeBytes, true);
      return;
    }
    if (await this.#match(CACHE_URL + file.sha256)) {
      onBytes(file, file.sizeBytes, true);
      return;
    }
    const bytes = await this.#download(file, (count) => onBytes(file, count, false), signal);
    if (!(await this.#store(file, bytes))) this.#memory.set(file.sha256, bytes);
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
  ): Promise<Bytes> {
    const part = await this.#takePart(file);
    let bytes = await this.#receive(file, part, onCount, signal);
    let digest = await sha256(bytes);
    if (digest !== file.sha256 && part.byteLength > 0) {
      // The bytes that an earlier load left may be the damaged ones.
      onCount(-bytes.byteLength);
      bytes = await this.#receive(file, new Uint8Array(), onCount, signal);
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
  ): Promise<Bytes> {
    const url = new URL(file.path, this.base).href;
    const incoming = new Incoming(file, part, onCount);
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
  ) {
    this.#target = new Uint8Array(file.sizeBytes);
    if (part.byteLength > 0) this.add(part);
  }

  add(piece: Uint8Array): void {
    if (this.received + piece.byteLength > this.#target.byteLength)
      throw wrongSize(this.file, `more than ${this.file.sizeBytes}`);
    this.#target.set(piece, this.received);
    this.received += piece.byteLength;
    this.onCount(piece.byteLength);
  }

  restart(): void {
    if (this.received > 0) this.onCount(-this.received);
    this.received = 0;
  }

  soFar(): Bytes {
    return this.#target.slice(0, this.received);
  }

  whole(): Bytes {
    if (this.received !== this.file.sizeBytes) throw wrongSize(this.file, String(this.received));
    return this.#target;
  }
}

function wrongSize(file: FileSpec, came: string): EngineError {
  return new EngineError(
    "corrupt-file",
    `${file.path}: got ${came} bytes, system.json says ${file.sizeBytes}; rebuild or upload the system again`,
  );
}
