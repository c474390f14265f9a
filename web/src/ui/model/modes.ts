/** The modes in the order of the comparison, as the page speaks of them. */
import type { Mode } from "../../engine/api";

export interface ModeInfo {
  readonly name: Mode;
  readonly label: string;
  /** One sentence. */
  readonly description: string;
  /** Whether the number of rounds and of latent steps matters. */
  readonly rounds: boolean;
  /** Whether agents hand anything over. */
  readonly handoffs: boolean;
  /** Whether agents write their thoughts as text. */
  readonly writes: boolean;
}

export const MODES: readonly ModeInfo[] = [
  {
    name: "latent",
    label: "Latent",
    description: "Agents hand over thoughts, never words; only the last one writes.",
    rounds: true,
    handoffs: true,
    writes: false,
  },
  {
    name: "text",
    label: "Text",
    description: "The same agents and rounds, but they write to each other.",
    rounds: true,
    handoffs: true,
    writes: true,
  },
  {
    name: "loop",
    label: "Loop",
    description: "The last agent alone, thinking as many steps as all agents together.",
    rounds: true,
    handoffs: false,
    writes: false,
  },
  {
    name: "single",
    label: "Single",
    description: "The last agent alone, answering at once.",
    rounds: false,
    handoffs: false,
    writes: false,
  },
];

/** @throws TypeError for a name that is no mode. */
export function modeOf(name: Mode): ModeInfo {
  const found = MODES.find((mode) => mode.name === name);
  if (!found) throw new TypeError(`'${name}' is not a mode`);
  return found;
}
