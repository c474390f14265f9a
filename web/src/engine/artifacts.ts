/**
 * The files of a built system: downloaded, verified, cached.
 *
 * Every byte that is handed out has the sha256 that the manifest gives, whether it came from the network or the cache.
 * The cache is addressed by content, so systems that share an agent share its files, and a rebuilt file is a new entry.
 */
import { sha256 } from "./digest";
import { type Fetch, fetchOk, networkError } from "./download";
import { EngineError, throwIfCancelled } from "./errors";
import { CACHE_URL, keptResponse } from "./kept";
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
}

/** Called as bytes come: how many more, and whether they came from the cache. */
export type OnBytes = (file: FileSpec, bytes: number, cached: boolean) => void;

const PARALLEL_DOWNLOADS = 4;
const MAX_RESUMES = 3;

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
    const worker = async (): Promise<void> => {
      for (let file = waiting.shift(); file; file = waiting.shift()) await this.#bring(file, onBytes, signal);
    };
    try {
      await Promise.all(Array.from({ length: PARALLEL_DOWNLOADS }, worker));
    } catch (error) {
      stop.abort();
      throwIfCancelled(this.signal);
      throw error;
    }
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

  /** @returns whether the cache took it; a full disk is no reason to stop. */
  async #store(file: FileSpec, bytes: Bytes): Promise<boolean> {
    try {
      await this.sources.cache?.put(CACHE_URL + file.sha256, keptResponse(file, bytes, this.sources.owner));
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
    const url = new URL(file.path, this.base).href;
    const bytes = await this.#receive(url, file, onCount, signal);
    const digest = await sha256(bytes);
    if (digest !== file.sha256) {
      throw new EngineError(
        "corrupt-file",
        `${file.path}: its sha256 is ${digest.slice(0, 12)}…, system.json says ${file.sha256.slice(0, 12)}…; ` +
          "the file is damaged or belongs to another build: rebuild or upload the system again",
      );
    }
    return bytes;
  }

  /** Receives a file; a broken connection is taken up again where it broke, if the server can. */
  async #receive(
    url: string,
    file: FileSpec,
    onCount: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<Bytes> {
    const target = new Uint8Array(file.sizeBytes);
    let received = 0;
    for (let attempt = 0; ; attempt++) {
      const headers: Record<string, string> = received > 0 ? { Range: `bytes=${received}-` } : {};
      // Our own cache keeps what was verified; the browser's would keep it twice, or keep an older build.
      const init: RequestInit = { headers, cache: "no-store", ...(signal ? { signal } : {}) };
      const response = await fetchOk(url, init, this.sources.fetch);
      if (received > 0 && response.status !== 206) {
        onCount(-received);
        received = 0;
      }
      try {
        for await (const piece of pieces(response)) {
          if (received + piece.byteLength > target.byteLength)
            throw wrongSize(file, `more than ${file.sizeBytes}`);
          target.set(piece, received);
          received += piece.byteLength;
          onCount(piece.byteLength);
        }
      } catch (error) {
        if (error instanceof EngineError) throw error;
        if (signal?.aborted || attempt >= MAX_RESUMES) throw networkError(url, error, signal);
        continue;
      }
      if (received !== file.sizeBytes) throw wrongSize(file, String(received));
      return target;
    }
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
