/** Which questions stand for a whole set. */
import type { TaskQuestion } from "../../engine/api";

type Grouped = Pick<TaskQuestion, "group">;

/** Names in the order of the numbers in them, as in `2 hops`, `10 hops`; else by name. */
export function orderGroups(names: Iterable<string>): string[] {
  return [...new Set(names)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

/**
 * @param held - the set; questions without a group are one group.
 * @returns the indices of `count` questions, as many of every group as can be, always the same ones; in the order of
 *   taking turns, so that any first part of it is balanced, too.
 */
export function sample(held: readonly Grouped[], count: number): number[] {
  const byGroup = new Map<string, number[]>();
  held.forEach(({ group = "" }, index) => {
    byGroup.set(group, [...(byGroup.get(group) ?? []), index]);
  });
  const lists = orderGroups(byGroup.keys()).map((name) => byGroup.get(name) ?? []);
  const longest = Math.max(0, ...lists.map(({ length }) => length));
  const turns = Array.from({ length: longest }, (_, turn) =>
    lists.flatMap((list) => list.slice(turn, turn + 1)),
  );
  return turns.flat().slice(0, count);
}

/**
 * @returns the index of a question to begin with: of a hard group, but not the hardest, since that shows best what
 *   rounds are for; the first one when there are no groups.
 */
export function openingQuestion(held: readonly Grouped[]): number {
  const groups = orderGroups(held.flatMap(({ group }) => (group === undefined ? [] : [group])));
  const hard = groups[Math.floor(groups.length * 0.78)];
  return hard === undefined ? 0 : held.findIndex(({ group }) => group === hard);
}
