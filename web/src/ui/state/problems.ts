/** What went wrong, in plain words, and what the visitor can do about it. */
import { EngineError, type EngineErrorCode } from "../../engine/api";
import { FormatError } from "../../formats/errors";
import { CatalogError, UnknownSystemError } from "../model/catalog";
import { FolderError } from "../model/folder";

/** An action that the page offers. */
export type Remedy =
  | "reload-system"
  | "try-again"
  | "reset-settings"
  | "own-links"
  | "one-by-one"
  | "on-processor"
  | "choose-system"
  | "dismiss";

/** A problem as the page shows it. */
export interface Problem {
  readonly code: EngineErrorCode | "catalog" | "trace" | "folder";
  readonly title: string;
  /** What to do, in one or two sentences. */
  readonly advice: string;
  /** The engine's own message. */
  readonly detail: string;
  readonly remedies: readonly Remedy[];
  /** Whether the system must be loaded again. */
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
    "The agents run on your graphics card, which needs WebGPU. Recent versions of Chrome and Edge have it, as do Safari 26 and Firefox on Windows and macOS. On Linux you may have to enable it (chrome://flags, “WebGPU”). If your browser has it but opens no graphics card, turn on hardware acceleration in its settings and restart it. You can open saved runs without it.",
    ["on-processor", "try-again"],
  ),
  "insecure-page": words(
    "This page needs a secure address",
    "Browsers run agents only for pages on https or on localhost. Open this page at such an address. You can open saved runs here.",
    ["try-again"],
  ),
  "missing-feature": words(
    "Your graphics card lacks a feature that this system needs",
    "The system was built with half-precision numbers (shader-f16). Choose a system in single precision (q4f32 or q0f32), or use another machine.",
    ["choose-system"],
  ),
  "insufficient-limits": words(
    "This system is too large for your graphics card",
    "Choose a smaller system, or open the page on a machine with a larger graphics card.",
    ["choose-system"],
  ),
  "gpu-validation": words(
    "The graphics card refused a step, so the results cannot be trusted",
    "The page stopped the run because its answer might be wrong. Load the agents again. If the problem returns, updating the browser or the driver may help.",
    RELOAD,
  ),
  "out-of-memory": words(
    "The graphics card ran out of memory",
    "Close other tabs that use the graphics card, or choose fewer latent steps or a smaller system. Then load the agents again.",
    ["one-by-one", "reload-system"],
  ),
  "no-memory": words(
    "The browser ran out of memory",
    "Close other tabs and programs, or choose a smaller system. Then load the agents again.",
    ["reload-system", "choose-system"],
  ),
  "device-lost": words(
    "The browser lost the graphics card",
    "This happens when a driver restarts or a laptop sleeps. Your question and settings are still here. Load the agents again, and the page repeats the run that was interrupted.",
    RELOAD,
  ),
  download: words(
    "A file could not be downloaded",
    "The details say why. If it is your connection, check it and try again: the page downloads only what has not arrived yet. If the server refuses the file or does not have it, whoever built the system must upload it again.",
    ["try-again", "choose-system"],
  ),
  "corrupt-file": words(
    "A file arrived damaged",
    "Its fingerprint differs from the one in the system’s manifest, so the page did not use it. Try again. If the problem returns, the files on the server are damaged or only partly updated.",
    ["try-again", "choose-system"],
  ),
  "bad-manifest": words(
    "This system’s description cannot be read",
    "This page does not understand its system.json. Build the system again with “rmas build”, or choose another system.",
    ["choose-system", "try-again"],
  ),
  "bad-links": words(
    "The links do not fit these agents",
    "This recursivelink.json is damaged or was trained for other agents. Use the system’s own links, or open links that were trained for these agents.",
    ["own-links", "choose-system"],
  ),
  "bad-library": words(
    "An agent’s library does not fit this page",
    "Another version compiled it. Build the system again, or reload the page to get its newest version.",
    ["choose-system", "try-again"],
  ),
  "bad-prompt": words(
    "A prompt is not valid",
    "Correct it under Change, or return to the system’s own prompts.",
    ["reset-settings", "dismiss"],
    false,
  ),
  "context-overflow": words(
    "The run does not fit in an agent’s context window",
    "Ask a shorter question, or use fewer latent steps or answer tokens.",
    ["dismiss"],
    false,
  ),
  "bad-numbers": words(
    "An agent’s numbers are broken",
    "It computed NaN, infinity or a token that does not exist, so the page stopped the run. The details name the agent. In half precision some models overflow: choose the system’s single precision build (q4f32 or q0f32). Otherwise the weights or the links are broken.",
    ["own-links", "choose-system", "dismiss"],
    false,
  ),
  "bad-option": words(
    "A setting is out of range",
    "Change the setting that the details name, or return to the system’s own settings.",
    ["reset-settings", "dismiss"],
    false,
  ),
  "bad-peer": words(
    "The other device does not fit",
    "It sent something that this system does not allow, or it has other files: both devices need the same system and the same links. Open the same page on both, and invite it again.",
    ["dismiss"],
    false,
  ),
  busy: words("The agents are busy", "Wait for the current run, or cancel it first.", ["dismiss"], false),
  internal: words(
    "Something broke inside the page",
    "This is our mistake, not yours. Load the agents again. Your question and settings are still here.",
    RELOAD,
  ),
};

/** @returns undefined for a cancellation, which is not a problem. */
export function problemOf(thrown: unknown): Problem | undefined {
  if (thrown instanceof CatalogError) {
    return {
      code: "catalog",
      ...words(
        "There is no list of systems beside this page",
        "Enter the address of a system.json, or build a system with “rmas build”.",
        ["choose-system", "try-again"],
      ),
      detail: thrown.message,
    };
  }
  if (thrown instanceof UnknownSystemError) {
    const { asked, names } = thrown;
    const listed =
      names.length > 0
        ? `The list beside this page has ${names.join(", ")}. Choose one of them, or enter`
        : "There is no list beside this page. Enter";
    return {
      code: "catalog",
      ...words(
        "There is no such system",
        `The page looked for “${asked}” and found nothing. ${listed} the address of another system.json.`,
        ["choose-system", "try-again"],
      ),
      detail: thrown.message,
    };
  }
  if (thrown instanceof FormatError) {
    return {
      code: "trace",
      ...words("This run cannot be opened", "Choose a file that this page saved.", ["dismiss"], false),
      detail: thrown.message,
    };
  }
  if (thrown instanceof FolderError) {
    return {
      code: "folder",
      ...words(
        "This cannot be opened",
        "Drop the folder of a built system (the one that contains system.json), a recursivelink.json or a saved run. After the page was reloaded, a folder must be dropped again, because browsers do not let pages remember folders.",
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
