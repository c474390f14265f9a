/** Systems that were loaded in this browser before, and so lie in its cache: they are loaded without asking again. */
export interface Remembered {
  has(url: string): boolean;
  add(url: string): void;
  clear(): void;
}

/** @param storage - may be unavailable, as in a private window; then nothing is remembered. */
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
        // Nothing was remembered then.
      }
    },
    add: (url) => {
      try {
        storage().setItem(KEY, JSON.stringify([url, ...read().filter((each) => each !== url)].slice(0, 16)));
      } catch {
        // Without storage the next visit asks before it downloads, as the first did.
      }
    },
  };
}
