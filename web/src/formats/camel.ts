/** JSON has snake_case keys and TypeScript has camelCase ones. They change here and nowhere else. */
import { FREE, MAPS } from "./generated/validators";

const camel = (key: string): string =>
  key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
const snake = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** @returns a value of a file with its keys in camelCase; names of agents, edges and the like stay as they are. */
export function camelise(value: unknown): unknown {
  return rename(value, camel, false);
}

/** The opposite of `camelise`. */
export function snakeise(value: unknown): unknown {
  return rename(value, snake, false);
}

function rename(value: unknown, convert: (key: string) => string, hasNames: boolean): unknown {
  if (Array.isArray(value)) return value.map((each) => rename(each, convert, false));
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  const entries = Object.entries(value).map(([key, each]) => {
    if (hasNames) return [key, rename(each, convert, false)];
    const inFile = snake(key);
    return [convert(key), FREE.has(inFile) ? each : rename(each, convert, MAPS.has(inFile))];
  });
  return Object.fromEntries(entries);
}
