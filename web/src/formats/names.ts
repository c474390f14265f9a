/** Names that objects of JavaScript have of their own, so that nothing in a file may be called so. */

/**
 * Whether a name could be taken for a property of every object.
 *
 * Source: core/recursivemas/system/graph.py refuses the same ids of agents and edges.
 */
export function isProperty(name: string): boolean {
  return name in Object.prototype || name === "prototype";
}

/** The keys that valibot leaves out of what it has checked, without a word. */
const DROPPED: readonly string[] = ["__proto__", "prototype", "constructor"];

/**
 * @param data - parsed JSON, of any depth.
 * @param free - keys whose value is left as it is.
 * @returns a key that would get lost; undefined if there is none.
 */
export function lostKey(data: unknown, free: ReadonlySet<string>): string | undefined {
  const waiting = [data];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (typeof value !== "object" || value === null) continue;
    for (const [key, each] of Object.entries(value)) {
      if (!Array.isArray(value) && DROPPED.includes(key)) return key;
      if (typeof each === "object" && !free.has(key)) waiting.push(each);
    }
  }
  return undefined;
}
