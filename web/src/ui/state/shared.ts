/** Looks for links that people share, when the visitor asks for it, and opens one. */
import { batch, signal } from "@preact/signals";
import { EngineError, fetchAtMost, parseLinks, sha256 } from "../../engine/api";
import { parseFile } from "../../formats/format";
import type { SharedLinks } from "../../formats/generated/types";
import { SHARED_LINKS } from "../../formats/generated/validators";
import {
  fileUrl,
  LISTING_URL,
  misfits,
  parseListing,
  type Repository,
  recordUrl,
} from "../model/shared-links";
import type { Session } from "./session";

const MOST_LISTING_BYTES = 1 << 20;
/** core/recursivemas/system/shared_links.py writes none that is larger. */
const MOST_RECORD_BYTES = 1 << 18;
/** Records that are read at a time. */
const AT_ONCE = 4;

/** A repository that the Hub listed. */
export interface Found extends Repository {
  /** Undefined if it could not be read. */
  readonly record: SharedLinks | undefined;
  /** Why the record could not be read. */
  readonly problem: string | undefined;
}

export class Shared {
  /** Undefined before the visitor has looked. */
  readonly found = signal<readonly Found[] | undefined>(undefined);
  /** Share of the records that were read; undefined if the page is not looking. */
  readonly looking = signal<number | undefined>(undefined);
  /** Id of the repository whose links are being downloaded. */
  readonly opening = signal<string | undefined>(undefined);
  /** Share of the links that has arrived. */
  readonly arrived = signal(0);
  /** What went wrong the last time. */
  readonly problem = signal<string | undefined>(undefined);
  #work = new AbortController();

  constructor(
    private readonly session: Session,
    private readonly fetchFile: typeof fetchAtMost = fetchAtMost,
  ) {}

  /** Asks the Hub. Never rejects; `problem` says what went wrong. */
  async look(): Promise<void> {
    const { signal: stop } = this.#begin();
    this.looking.value = 0;
    try {
      const bytes = await this.fetchFile(LISTING_URL, MOST_LISTING_BYTES, stop);
      const repositories = parseListing(new TextDecoder().decode(bytes));
      const found: Found[] = [];
      for (let at = 0; at < repositories.length; at += AT_ONCE) {
        const some = repositories.slice(at, at + AT_ONCE);
        found.push(...(await Promise.all(some.map((each) => this.#read(each, stop)))));
        if (stop.aborted) return;
        this.looking.value = found.length / repositories.length;
      }
      this.found.value = found;
    } catch (error) {
      this.#fail(error, stop);
    } finally {
      if (!stop.aborted) this.looking.value = undefined;
    }
  }

  async #read(repository: Repository, stop: AbortSignal): Promise<Found> {
    try {
      const url = recordUrl(repository);
      const bytes = await this.fetchFile(url, MOST_RECORD_BYTES, stop);
      const record = parseFile(new TextDecoder().decode(bytes), url, SHARED_LINKS);
      return { ...repository, record, problem: undefined };
    } catch (error) {
      return { ...repository, record: undefined, problem: messageOf(error) };
    }
  }

  /** Downloads, verifies and uses links. What is open stays as it is if they are not what their record says. */
  async open({ record, ...repository }: Found): Promise<void> {
    const system = this.session.system.value;
    if (!record || !system || this.session.busy.value) return;
    const { signal: stop } = this.#begin();
    this.opening.value = repository.id;
    try {
      const [misfit] = misfits(record, system);
      if (misfit) throw new EngineError("bad-links", misfit);
      const url = fileUrl(repository, record.links.path);
      const bytes = await this.fetchFile(url, record.links.sizeBytes, stop, (count) => {
        if (!stop.aborted) this.arrived.value = count / Math.max(1, record.links.sizeBytes);
      });
      await check(bytes, record, url);
      const text = new TextDecoder().decode(bytes);
      const { variant } = parseLinks(text, system.agents, system.edges);
      if (variant !== record.variant)
        throw new EngineError("bad-links", `the links are of the form ${variant}, not ${record.variant}`);
      if (stop.aborted || this.session.system.value !== system) return;
      this.opening.value = undefined;
      await this.session.useLinks({ name: `${repository.id} at ${repository.revision.slice(0, 7)}`, text });
    } catch (error) {
      this.#fail(error, stop);
    } finally {
      if (!stop.aborted) this.opening.value = undefined;
    }
  }

  /** Stops looking or downloading. */
  cancel(): void {
    this.#work.abort();
    batch(() => {
      this.looking.value = undefined;
      this.opening.value = undefined;
    });
  }

  #begin(): AbortController {
    this.cancel();
    this.#work = new AbortController();
    batch(() => {
      this.problem.value = undefined;
      this.arrived.value = 0;
    });
    return this.#work;
  }

  #fail(error: unknown, stop: AbortSignal): void {
    if (!stop.aborted) this.problem.value = messageOf(error);
  }
}

async function check(bytes: Uint8Array<ArrayBuffer>, { links }: SharedLinks, url: string): Promise<void> {
  if (bytes.byteLength !== links.sizeBytes)
    throw new EngineError(
      "corrupt-file",
      `${url}: has ${bytes.byteLength} bytes, its record says ${links.sizeBytes}; it was not used`,
    );
  const found = await sha256(bytes);
  if (found !== links.sha256)
    throw new EngineError(
      "corrupt-file",
      `${url}: its sha256 is ${found.slice(0, 12)}…, its record says ${links.sha256.slice(0, 12)}…; it was not used`,
    );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
