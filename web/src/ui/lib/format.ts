/** Numbers as people write them, with a thin space before the unit. */

export const THIN = "\u202f";

/** 1234567 → `1.2 MB`. Units are powers of ten, as is usual for downloads. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : 1;
  return `${value.toFixed(digits)}${THIN}${units[unit]}`;
}

/** Milliseconds → `42 ms`, `1.34 s`, `2 min 05 s`, `3 h 07 min`. */
export function formatDuration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)}${THIN}ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(ms < 9_950 ? 2 : 1)}${THIN}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return inTwo(seconds, "min", "s");
  return inTwo(Math.round(seconds / 60), "h", "min");
}

/** Sixty of the small unit are one of the large one. */
function inTwo(count: number, large: string, small: string): string {
  return `${Math.floor(count / 60)}${THIN}${large} ${String(count % 60).padStart(2, "0")}${THIN}${small}`;
}

/** 12345 → `12 345` with thin spaces. */
export function formatCount(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** 0.4275 → `43 %`; a tiny share above 0 → `<1 %`. */
export function formatPercent(share: number): string {
  if (share > 0 && share < 0.005) return `<1${THIN}%`;
  return `${Math.round(share * 100)}${THIN}%`;
}

/** 0.9989 → `99.9 %`: measured shares and their intervals near 100 % differ in the first decimal. */
export function formatExactPercent(share: number): string {
  return `${(share * 100).toFixed(1)}${THIN}%`;
}

/** Rounds count from 0 in the engine and from 1 for people: 0 → `round 1`. */
export function formatRound(round: number): string {
  return `round ${round + 1}`;
}

/** The size of several files. */
export function totalBytes(files: readonly { readonly sizeBytes: number }[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** Makes control characters and line breaks visible, so that every token can be seen. */
export function showToken(text: string): string {
  if (text === "") return "∅";
  return text
    .replace(/\n/g, "↵")
    .replace(/\t/g, "⇥")
    .replace(/^ | $/g, "·")
    .replace(/\p{Cc}/gu, "�");
}
