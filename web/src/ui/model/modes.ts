/** Looks up what the page says about a mode. */
import { MODES, type Mode, type ModeInfo } from "../../formats/generated/names";

/** @throws TypeError if no mode has this name. */
export function modeOf(name: Mode): ModeInfo {
  const found = MODES.find((mode) => mode.name === name);
  if (!found) throw new TypeError(`expected a mode, got '${name}'`);
  return found;
}
