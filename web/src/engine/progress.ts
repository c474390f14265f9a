/** Reports the progress of loading as one number that never falls and one line for people. */
import type { LoadProgress } from "./types";

/**
 * Each part's share of the bar. Downloads take longest on a first visit, shaders on a later one. Both go on at the same
 * time.
 */
const MANIFEST_SHARE = 0.02;
const DOWNLOAD_SHARE = 0.58;
/** The share of a model's part that goes to its shaders; the rest goes to its weights. */
const COMPILE_SHARE = 0.8;

export class LoadReporter {
  #fraction = 0;
  #totalBytes = 0;
  #loadedBytes = 0;
  #cachedBytes = 0;
  /** The finished parts of each model, 0…1. */
  readonly #models = new Map<string, { compile: number; upload: number }>();
  /** What models do while files arrive. */
  #meanwhile = "";

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
    this.#report("download", path + this.#meanwhile, this.#done);
  }

  /** Names the agents whose models will be loaded. */
  models(agents: readonly string[]): void {
    for (const agent of agents) this.#models.set(agent, { compile: 0, upload: 0 });
  }

  /** Reports the finished part of a model's phase, 0…1. */
  model(agent: string, phase: "compile" | "upload", fraction: number): void {
    const label = modelLabel(agent, phase);
    const model = this.#models.get(agent);
    if (model) model[phase] = fraction;
    if (phase === "compile") this.#meanwhile = fraction < 1 ? `; ${label}` : "";
    this.#report(phase, label, this.#done);
  }

  get #done(): number {
    const download = this.#totalBytes > 0 ? this.#loadedBytes / this.#totalBytes : 1;
    const models = [...this.#models.values()].map(
      ({ compile, upload }) => COMPILE_SHARE * compile + (1 - COMPILE_SHARE) * upload,
    );
    const mean = models.reduce((sum, each) => sum + each, 0) / Math.max(1, models.length);
    return MANIFEST_SHARE + DOWNLOAD_SHARE * download + (1 - MANIFEST_SHARE - DOWNLOAD_SHARE) * mean;
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
