/** Tools of the agent that answers: what it may use, and the one that needs the visitor's leave. */
import type { JSX } from "preact";
import type { System } from "../../engine/api";
import { planOf, SEARCH_URL } from "../model/settings";
import { useStore } from "../state/store";

export function Tools({ system }: { system: System }): JSX.Element {
  const { search, page } = useStore();
  const decider = planOf(system, page.state.value).agents.at(-1);
  const calculates = decider?.tools.includes("calculator") ?? false;
  const host = new URL(SEARCH_URL).host;
  return (
    <section class="inside-part">
      <h3>Tools of the agent that answers</h3>
      <p>
        {calculates
          ? `The ${decider?.id} may use a calculator, which is part of this page. `
          : `The ${decider?.id} was trained without tools. `}
        A search leaves this page, so it waits for your leave; it is asked for again on every visit.
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
          Let it search {host}. What it writes between <code>{"<search>"}</code> and{" "}
          <code>{"</search>"}</code>, and your address, then reach that site.
        </span>
      </label>
    </section>
  );
}
