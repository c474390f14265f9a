/** The tools of the agent that answers: those it was trained with, and the search, which needs permission. */
import type { JSX } from "preact";
import type { System } from "../../engine/api";
import { TOOLS, type ToolInfo } from "../../formats/generated/names";
import { planOf, SEARCH_URL } from "../model/settings";
import { useStore } from "../state/store";

export function Tools({ system }: { system: System }): JSX.Element {
  const { search, page } = useStore();
  const decider = planOf(system, page.state.value).agents.at(-1);
  const declared = TOOLS.filter(({ name, consent }) => !consent && decider?.tools.includes(name));
  const own = declared.filter(({ browser }) => browser);
  const missing = declared.filter(({ browser }) => !browser);
  return (
    <section class="inside-part">
      <h3>Tools of the agent that answers</h3>
      <p>
        {own.length === 0
          ? `The ${decider?.id} has no tools in this page. `
          : `The ${decider?.id} may use these tools, which are part of this page: ${names(own)}. `}
        {missing.length > 0 &&
          `It was also trained with ${names(missing)}, which a page does not have: such a call stays text. `}
        A search contacts another site, so it needs your permission. The page asks again on every visit.
      </p>
      <label class="check">
        <input
          type="checkbox"
          checked={search.value}
          onChange={(event) => {
            search.value = event.currentTarget.checked;
          }}
        />
        <span>
          Let it search {new URL(SEARCH_URL).host}. That site then receives your address and what the agent
          writes between <code>{"<search>"}</code> and <code>{"</search>"}</code>.
        </span>
      </label>
    </section>
  );
}

function names(tools: readonly ToolInfo[]): string {
  return tools.map(({ label }) => label.toLowerCase()).join(", ");
}
