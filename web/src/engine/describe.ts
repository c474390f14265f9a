/** Schema problems in one line for people. */
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
  if (issue.type === "strict_object") {
    return issue.expected === "never" ? `unknown key '${where}'` : `missing key '${where}'`;
  }
  if (issue.type === "check") return `${where}: ${issue.message}, got ${issue.received}`;
  return `${where}: expected ${issue.expected ?? issue.message}, got ${issue.received}`;
}

/**
 * Looked at before anything else of a file, since a newer format may have other keys.
 *
 * @returns the file's version if it is newer than the one that is known here.
 */
export function newerVersion(data: unknown, known: number): number | undefined {
  const version = typeof data === "object" && data !== null && "version" in data ? data.version : undefined;
  return typeof version === "number" && version > known ? version : undefined;
}
