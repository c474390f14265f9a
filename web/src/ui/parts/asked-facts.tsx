/** What a run was told beside its question. */
import type { JSX } from "preact";
import type { RunOptions } from "../../engine/api";
import { fieldLabel } from "../model/fields";

export function AskedFacts({ options }: { options: RunOptions }): JSX.Element | null {
  const facts = Object.entries(options.fields ?? {}).filter(([, text]) => text.trim() !== "");
  if (facts.length === 0) return null;
  return (
    <ul class="asked-facts">
      {facts.map(([name, text]) => (
        <li key={name}>
          <b>{fieldLabel(name)}</b> {text}
        </li>
      ))}
    </ul>
  );
}
