/** Remembers the systems whose files this browser keeps, which the page loads without asking. */
export interface Remembered {
  has(url: string): boolean;
  add(url: string): void;
  clear(): void;
}

/** @param storage - may be unavailable, for example in a private window; then nothing is remembered. */
export function rememberIn(storage: () => Storage): Remembered {
  const KEY = "recursivemas.loaded";
  const read = (): string[] => {
    try {
      const data: unknown = JSON.parse(storage().getItem(KEY) ?? "[]");
      return Array.isArray(data) ? data.filter((each): each is string => typeof each === "string") : [];
    } catch {
      return [];
    }
  };
  return {
    has: (url) => read().includes(url),
    clear: () => {
      try {
        storage().removeItem(KEY);
      } catch {
        // Without storage nothing was remembered.
      }
    },
    add: (url) => {
      try {
        storage().setItem(KEY, JSON.stringify([url, ...read().filter((each) => each !== url)].slice(0, 16)));
      } catch {
        // Without storage the next visit asks before it downloads.
      }
    },
  };
}
