/** Problems of a file in one line for people. */
import type { BaseIssue } from "valibot";

/**
 * @param issues - what valibot found.
 * @returns where, what was expected and what came, for the first five problems.
 */
export function describeIssues(issues: readonly BaseIssue<unknown>[]): string {
  return issues.slice(0, 5).map(describe).join("; ");
}

function describe(issue: BaseIssue<unknown>): string {
  const where = issue.path?.map((item) => String(item.key)).join(".") || "top level";
  if (issue.expected === "never") return `unknown key '${where}'`;
  // JSON has no undefined.
  if (issue.received === "undefined") return `missing key '${where}'`;
  // A message of the schema's own says what was expected better than a pattern does.
  const own = issue.message.startsWith("expected ");
  return `${where}: ${own ? issue.message : `expected ${issue.expected}`}, got ${issue.received}`;
}
