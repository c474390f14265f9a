/**
 * The files of a built system: downloaded, verified, cached.
 *
 * Every byte that is handed out has the sha256 that the manifest gives, whether it came from the network or the cache.
 * The cache is addressed by content, so systems that share an agent share its files, and a rebuilt file is a new entry.
 */
import { sha256 } from "./digest";
import { checkOk, type Fetch, networkError, pause } from "./download";
import { EngineError, throwIfCancelled } from "./errors";
import { CACHE_URL, keptResponse, partUrl } from "./kept";
import type { FileSpec } from "./system";

type Bytes = Uint8Array<ArrayBuffer>;

/** What is stored where; tests pass their own. */
export interface ArtifactSources {
  readonly fetch: Fetch;
  /** Undefined where the browser has none, or none is wanted: files then stay in memory. */
  readonly cache: Pick<Cache, "match" | "put" | "delete"> | undefined;
  /** Files lie on this machine already: they are read, and verified, when they are needed. */
  readonly atHand?: boolean;
  /** Name of the system, kept beside its files in the cache for people to read. */
  readonly owner?: string;
  /** Waits before a broken download is tried again. */
  readonly pause?: typeof pause;
}

/** Called as bytes come: how many more, and whether they came from the cache. */
export type OnBytes = (file: FileSpec, bytes: number, cached: boolean) => void;

const PARALLEL_DOWNLOADS = 4;
/** Before each try that follows one which brought nothing new; they are over sooner when the network is back. */
const PAUSES_MS = [300, 1000, 3000];

export class Artifacts {
  readonly #files: ReadonlyMap<string, FileSpec>;
  /** What the cache could not take. */
  readonly #memory = new Map<string, Bytes>();

  /**
   * @param base - URL of the manifest; paths are relative to it.
   */
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

  /** Bring all these files here, several at a time. After it `read` needs no network. */
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
    // After a failure the others still put away what they have.
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

  /** Lets go of what is held in memory. */
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
    if (await this.sources.cache?.match(CACHE_URL + file.sha256)) {
      onBytes(file, file.sizeBytes, true);
      return;
    }
    const bytes = await this.#download(file, (count) => onBytes(file, count, false), signal);
    if (!(await this.#store(file, bytes))) this.#memory.set(file.sha256, bytes);
  }

  /** Cached bytes are verified like any others: a damaged entry is dropped and fetched anew. */
  async #fromCache(file: FileSpec): Promise<Bytes | undefined> {
    const entry = await this.sources.cache?.match(CACHE_URL + file.sha256);
    if (!entry) return undefined;
    const bytes = new Uint8Array(await entry.arrayBuffer());
    if ((await sha256(bytes)) === file.sha256) return bytes;
    await this.sources.cache?.delete(CACHE_URL + file.sha256);
    return undefined;
  }

  /** Takes the first bytes of a file out of the cache, where an earlier load left them. */
  async #takePart(file: FileSpec): Promise<Bytes> {
    const url = partUrl(file);
    const entry = await this.sources.cache?.match(url);
    if (!entry) return new Uint8Array();
    const bytes = new Uint8Array(await entry.arrayBuffer());
    await this.sources.cache?.delete(url);
    return bytes.byteLength < file.sizeBytes ? bytes : new Uint8Array();
  }

  /** @returns whether the cache took it; a full disk is no reason to stop. */
  async #store(file: FileSpec, bytes: Bytes, url = CACHE_URL + file.sha256): Promise<boolean> {
    try {
      await this.sources.cache?.put(url, keptResponse(file, bytes, this.sources.owner));
      return this.sources.cache !== undefined;
    } catch {
      return false;
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
      // What was kept of an earlier try may be what is wrong.
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
   * Receives a file; a broken connection is taken up again where it broke, if the server can. When the network stays
   * away, what came is kept for the next load.
   *
   * @param part - the first bytes, if they are here already.
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

  /** One request for what is missing of a file. */
  async #continue(url: string, incoming: Incoming, signal: AbortSignal | undefined): Promise<void> {
    const { received } = incoming;
    const headers: Record<string, string> = received > 0 ? { Range: `bytes=${received}-` } : {};
    // Our own cache keeps what was verified; the browser's would keep it twice, or keep an older build.
    const init: RequestInit = { headers, cache: "no-store", ...(signal ? { signal } : {}) };
    // A browser's own `fetch` refuses to be called as a method.
    const { fetch } = this.sources;
    const response = checkOk(url, await fetch(url, init));
    if (response.status !== 206) incoming.restart();
    for await (const piece of pieces(response)) incoming.add(piece);
  }
}

/** A file's bytes as they come. */
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

async function* pieces(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    // Cancelling a body that ended does nothing; one that was left early stops downloading.
    await reader.cancel().catch(() => {});
  }
}
