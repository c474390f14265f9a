/** What went wrong, in plain words, and what to do about it. */
import { EngineError, type EngineErrorCode } from "../../engine/api";
import { CatalogError } from "../model/catalog";
import { FolderError } from "../model/folder";
import { TraceError } from "../trace/file";

/** What the page can offer to do. */
export type Remedy =
  | "reload-system"
  | "try-again"
  | "reset-settings"
  | "own-links"
  | "choose-system"
  | "dismiss";

/** A problem as it is shown. */
export interface Problem {
  readonly code: EngineErrorCode | "catalog" | "trace" | "folder";
  readonly title: string;
  /** What to do, in a sentence or two. */
  readonly advice: string;
  /** The engine's own line, for the curious. */
  readonly detail: string;
  readonly remedies: readonly Remedy[];
  /** Whether the loaded system is gone. */
  readonly fatal: boolean;
}

type Words = Pick<Problem, "title" | "advice" | "remedies" | "fatal">;

const words = (title: string, advice: string, remedies: readonly Remedy[], fatal = true): Words => ({
  title,
  advice,
  remedies,
  fatal,
});

const RELOAD: readonly Remedy[] = ["reload-system"];

const WORDS: Record<Exclude<EngineErrorCode, "cancelled">, Words> = {
  "no-webgpu": words(
    "This browser has no WebGPU",
    "The agents run on your graphics card, and WebGPU is the way to it. Recent Chrome and Edge have it, and so do Safari 26 and Firefox on Windows and macOS; on Linux it may have to be switched on (chrome://flags, “WebGPU”). Saved runs can be opened without it.",
    ["try-again"],
  ),
  "missing-feature": words(
    "Your graphics card lacks something this system needs",
    "It was built with half-precision numbers (shader-f16). Choose a system built in single precision (q4f32 or q0f32), or another machine.",
    ["choose-system"],
  ),
  "insufficient-limits": words(
    "This system is too big for your graphics card",
    "Choose a smaller system, or open the page on a machine with a larger graphics card.",
    ["choose-system"],
  ),
  "gpu-validation": words(
    "The graphics card refused a step, so the results cannot be trusted",
    "The run was stopped rather than show a wrong answer. Load the agents again; if it returns, a browser or driver update may help.",
    RELOAD,
  ),
  "out-of-memory": words(
    "The graphics card ran out of memory",
    "Close other tabs that use it, or choose fewer latent steps or a smaller system; then load the agents again.",
    RELOAD,
  ),
  "device-lost": words(
    "The graphics card went away",
    "The browser lost it, as happens when a driver restarts or a laptop sleeps. Your question and settings are still here: load the agents again, and a run that was broken off starts anew.",
    RELOAD,
  ),
  download: words(
    "A file could not be downloaded",
    "Check the connection. What has arrived already is kept, so trying again goes on from there.",
    ["try-again", "choose-system"],
  ),
  "corrupt-file": words(
    "A file arrived damaged",
    "Its fingerprint is not the one that the system’s manifest gives, so nothing of it was used. Try again; if it returns, the files on the server are broken or were replaced in part.",
    ["try-again", "choose-system"],
  ),
  "bad-manifest": words(
    "This system’s description cannot be read",
    "Its system.json is not what this page expects. Build the system again with “rmas build”, or choose another.",
    ["choose-system", "try-again"],
  ),
  "bad-links": words(
    "The links do not fit these agents",
    "This recursivelink.json was trained for other agents, or is damaged. Use the system’s own links, or open a file that was trained for these agents.",
    ["own-links", "choose-system"],
  ),
  "bad-library": words(
    "An agent’s program does not fit this page",
    "It was compiled by another version. Build the system again, or reload the page to get the newest one.",
    ["choose-system", "try-again"],
  ),
  "bad-prompt": words(
    "A prompt cannot be used as it stands",
    "Correct it under Change, or put the system’s own prompts back.",
    ["reset-settings", "dismiss"],
    false,
  ),
  "context-overflow": words(
    "It does not fit in an agent’s context window",
    "Ask a shorter question, or use fewer latent steps or answer tokens.",
    ["dismiss"],
    false,
  ),
  "bad-option": words(
    "A setting is out of range",
    "Put the system’s own settings back, or change the one named here.",
    ["reset-settings", "dismiss"],
    false,
  ),
  busy: words("Another run is going on", "Wait for it, or cancel it first.", ["dismiss"], false),
  internal: words(
    "Something broke inside the page",
    "This is a mistake of ours, not of yours. Load the agents again; your question and settings are kept.",
    RELOAD,
  ),
};

/** @returns undefined for a cancellation, which is no problem. */
export function problemOf(thrown: unknown): Problem | undefined {
  if (thrown instanceof CatalogError) {
    return {
      code: "catalog",
      ...words(
        "There is no list of systems beside this page",
        "Give the address of a system.json instead, or build one with “rmas build”.",
        ["choose-system", "try-again"],
      ),
      detail: thrown.message,
    };
  }
  if (thrown instanceof TraceError) {
    return {
      code: "trace",
      ...words("This run cannot be opened", "Choose a file that was saved by this page.", ["dismiss"], false),
      detail: thrown.message,
    };
  }
  if (thrown instanceof FolderError) {
    return {
      code: "folder",
      ...words(
        "This cannot be opened",
        "Drop the folder of a built system (the one with system.json in it), a recursivelink.json, or a saved run. A folder must be dropped again after the page was reloaded: the page may not remember where it lies.",
        ["choose-system", "dismiss"],
        false,
      ),
      detail: thrown.message,
    };
  }
  const error = EngineError.from(thrown);
  if (error.code === "cancelled") return undefined;
  return { code: error.code, detail: error.message, ...WORDS[error.code] };
}
