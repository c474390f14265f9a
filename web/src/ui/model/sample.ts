/** Chooses questions that represent a whole set. */
import type { TaskQuestion } from "../../engine/api";

type Grouped = Pick<TaskQuestion, "group">;

/** Sorts names by the numbers in them, as in `2 hops`, `10 hops`, and otherwise by name. */
export function orderGroups(names: Iterable<string>): string[] {
  return [...new Set(names)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

/**
 * @param held - the set; questions without a group form one group.
 * @returns the indices of `count` questions, balanced over the groups. The choice is always the same, and groups take
 *   turns, so that every beginning of the list is balanced, too.
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
 * @returns the index of the question that the page opens with. It belongs to a hard group, but not the hardest, because
 *   that shows best what rounds are for. Without groups it is the first question.
 */
export function openingQuestion(held: readonly Grouped[]): number {
  const groups = orderGroups(held.flatMap(({ group }) => (group === undefined ? [] : [group])));
  const hard = groups[Math.floor(groups.length * 0.78)];
  return hard === undefined ? 0 : held.findIndex(({ group }) => group === hard);
}
