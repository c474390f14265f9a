/** Groups items. `Map.groupBy` is not available in older browsers, in which the page must still say that it needs WebGPU. */

type NonEmpty<T> = [T, ...T[]];

/** @returns the items by key; keys and items keep the order of their first appearance. */
export function groups<T>(items: readonly T[], key: (item: T) => string): NonEmpty<T>[] {
  const found = new Map<string, NonEmpty<T>>();
  for (const item of items) {
    const group = found.get(key(item));
    if (group) group.push(item);
    else found.set(key(item), [item]);
  }
  return [...found.values()];
}
