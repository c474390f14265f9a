/** Reports the progress of loading as one number that never falls and one line for people. */
import type { LoadProgress } from "./types";

/** Each part's share of the bar. Downloads take longest on a first visit, shaders on a later one. */
const MANIFEST_SHARE = 0.02;
const DOWNLOAD_SHARE = 0.58;
/** The share of a model's part that goes to its shaders; the rest goes to its weights. */
const COMPILE_SHARE = 0.8;

export class LoadReporter {
  #fraction = 0;
  #totalBytes = 0;
  #loadedBytes = 0;
  #cachedBytes = 0;
  /** The finished part of each model, 0…1. */
  readonly #models = new Map<string, number>();

  constructor(private readonly emit: (progress: LoadProgress) => void) {}

  manifest(url: string): void {
    this.#report("manifest", `reading ${url.split("/").slice(-2).join("/")}`, 0);
  }

  download(totalBytes: number): void {
    this.#totalBytes = totalBytes;
    this.#report("download", "downloading", MANIFEST_SHARE);
  }

  /** Adds bytes of a file; a negative number if a download started again. */
  bytes(path: string, bytes: number, cached: boolean): void {
    this.#loadedBytes += bytes;
    if (cached) this.#cachedBytes += bytes;
    const done = this.#totalBytes > 0 ? this.#loadedBytes / this.#totalBytes : 1;
    this.#report("download", path, MANIFEST_SHARE + DOWNLOAD_SHARE * done);
  }

  /** Names the agents whose models will be loaded. */
  models(agents: readonly string[]): void {
    for (const agent of agents) this.#models.set(agent, 0);
  }

  /** Reports the finished part of a model's phase, 0…1. */
  model(agent: string, phase: "compile" | "upload", fraction: number): void {
    const done =
      phase === "compile" ? COMPILE_SHARE * fraction : COMPILE_SHARE + (1 - COMPILE_SHARE) * fraction;
    this.#models.set(agent, done);
    const mean = [...this.#models.values()].reduce((sum, each) => sum + each, 0) / this.#models.size;
    const start = MANIFEST_SHARE + DOWNLOAD_SHARE;
    this.#report(phase, modelLabel(agent, phase), start + (1 - start) * mean);
  }

  ready(): void {
    this.#report("ready", "ready", 1);
  }

  #report(phase: LoadProgress["phase"], label: string, fraction: number): void {
    this.#fraction = Math.max(this.#fraction, Math.min(1, fraction));
    this.emit({
      phase,
      label,
      loadedBytes: this.#loadedBytes,
      totalBytes: this.#totalBytes,
      cachedBytes: this.#cachedBytes,
      fraction: this.#fraction,
    });
  }
}

/** One line for people. */
export function modelLabel(agent: string, phase: "compile" | "upload"): string {
  return `${agent}: ${phase === "compile" ? "compiling shaders" : "weights to the GPU"}`;
}
