/** Items that belong together. `Map.groupBy` would do, but browsers without WebGPU, which must say so, lack it too. */

type NonEmpty<T> = [T, ...T[]];

/** @returns the items by key, keys and items in the order in which they first came. */
export function groups<T>(items: readonly T[], key: (item: T) => string): NonEmpty<T>[] {
  const found = new Map<string, NonEmpty<T>>();
  for (const item of items) {
    const group = found.get(key(item));
    if (group) group.push(item);
    else found.set(key(item), [item]);
  }
  return [...found.values()];
}
