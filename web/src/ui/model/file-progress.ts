/** The progress of each file, from reports that name one file and count the bytes of all files. */
import type { LoadProgress } from "../../engine/api";

export interface FileProgress {
  readonly loadedBytes: number;
  /** Whether a part of it came from the browser's cache. */
  readonly cached: boolean;
}

/** The state of loading that the page shows. */
export interface Loading {
  readonly latest: LoadProgress | undefined;
  /** By path. */
  readonly files: ReadonlyMap<string, FileProgress>;
}

export const NOT_LOADING: Loading = { latest: undefined, files: new Map() };

/** @returns the state after one more report. The bytes it adds to the last report belong to the file it names. */
export function advanceLoading(before: Loading, report: LoadProgress): Loading {
  if (report.phase !== "download") return { ...before, latest: report };
  const bytes = report.loadedBytes - (before.latest?.loadedBytes ?? 0);
  const cachedBytes = report.cachedBytes - (before.latest?.cachedBytes ?? 0);
  const known = before.files.get(report.label);
  const file = {
    loadedBytes: (known?.loadedBytes ?? 0) + bytes,
    cached: (known?.cached ?? false) || cachedBytes > 0,
  };
  return {
    latest: report,
    files: bytes === 0 ? before.files : new Map(before.files).set(report.label, file),
  };
}
