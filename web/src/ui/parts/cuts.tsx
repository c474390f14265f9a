/** Cuts the edges of a run, one at a time, and shows how the answer changes. */
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { planRun, type TaskQuestion } from "../../engine/api";
import { formatPercent } from "../lib/format";
import { isAsked } from "../model/fields";
import { type Finished, verdict } from "../model/recording";
import type { EdgeView } from "../model/system-view";
import { type Cut, type Instead, plannedCuts } from "../state/ablate";
import { type Store, useStore } from "../state/store";
import { JobButton, Verdict } from "./controls";
import { Estimate } from "./estimate";
import { Mark } from "./mark";
import { TableScroll } from "./table-scroll";

export function Cuts({ finished }: { finished: Finished }): JSX.Element {
  const store = useStore();
  const { ablate, session } = store;
  const open = finished.options.edges ?? [];
  const edges = finished.system.edges.filter(({ id }) => open.includes(id));
  const ids = edges.map(({ id }) => id);
  const obstacle = whyNot(finished, store);
  const running = ablate.job.running.value;
  const instead = useSignal<Instead["kind"]>("nothing");
  const { turns } = planRun(finished.system, finished.options);
  const text = turns.some(({ textTokens }) => textTokens > 0);
  const other = otherQuestion(session.questions.value, finished);
  if (turns.length === 1)
    return <p class="view-empty">A single agent hands nothing over, so there is nothing to cut.</p>;
  return (
    <>
      <div class="view-tools">
        <label>
          Replace the thoughts with{" "}
          <select
            value={instead.value}
            disabled={running}
            onChange={(event) => {
              instead.value = event.currentTarget.value as Instead["kind"];
            }}
          >
            <option value="nothing">nothing (the slot stays empty)</option>
            <option value="zeros" disabled={text}>
              zeros
            </option>
            <option value="other" disabled={text || other === undefined}>
              another question’s thoughts
            </option>
          </select>
        </label>
        <JobButton
          job={ablate.job}
          disabled={obstacle !== undefined || session.busy.value || edges.length === 0}
          onStart={() => void ablate.start(finished, ids, replacement(instead.value, other))}
        >
          Cut each edge in turn
        </JobButton>
        {obstacle && <span class="fine">{obstacle}</span>}
      </div>
      {obstacle === undefined && !running && (
        <Estimate runs={plannedCuts(finished, ids, replacement(instead.value, other))} />
      )}
      <TableScroll label="What each edge is worth">
        <table class="facts">
          <thead>
            <tr>
              <th scope="col">Cut</th>
              <th scope="col">Answer</th>
              <th scope="col">
                <span class="visually-hidden">Right or wrong</span>
              </th>
              <th scope="col">Thoughts with another likeliest word</th>
              <th scope="col">Overlap of likely words</th>
            </tr>
          </thead>
          <tbody>
            <tr>
              <th scope="row">nothing</th>
              <td class="facts-answer">{finished.result.answer}</td>
              <td>
                <Verdict right={verdict(finished)} expected={finished.expected} />
              </td>
              <td />
              <td />
            </tr>
            {edges.map((edge) => (
              <CutRow
                key={edge.id}
                edge={edge}
                finished={finished}
                running={running && ablate.edge.value === edge.id}
                cut={
                  ablate.whole.value === finished
                    ? ablate.cuts.value.find((each) => each.edge === edge.id)
                    : undefined
                }
              />
            ))}
          </tbody>
        </table>
      </TableScroll>
    </>
  );
}

/** @returns why the loaded system cannot repeat a run without an edge; undefined if it can. */
function whyNot(
  { system: { name }, origin, options }: Finished,
  { session, search }: Store,
): string | undefined {
  const system = session.system.value;
  if (session.phase.value !== "ready" || system?.name !== name) return `Load ${name} to cut its edges.`;
  if (!origin)
    return "The saved run does not say which build made it, so runs of the loaded system cannot be compared with it.";
  if (origin.manifest !== system.sha256)
    return `Another build of ${name} made this run. Open that build to cut its edges.`;
  if (origin.links !== session.links.value?.name)
    return `This run used ${origin.links ?? "the system’s own links"}. Open them to cut its edges.`;
  if (options.search && !search.value)
    return "In this run the agent was allowed to search. Allow it under Change to cut the edges.";
  return undefined;
}

/** @returns another question, of the same group if possible. */
function otherQuestion(held: readonly TaskQuestion[], { options }: Finished): TaskQuestion | undefined {
  const group = held.find((each) => isAsked(each, options))?.group;
  const others = held.filter((each) => !isAsked(each, options));
  return others.find((each) => each.group === group) ?? others[0];
}

function replacement(kind: Instead["kind"], other: TaskQuestion | undefined): Instead {
  if (kind !== "other") return { kind };
  return other ? { kind, question: other } : { kind: "nothing" };
}

interface CutRowProps {
  readonly edge: EdgeView;
  readonly finished: Finished;
  readonly running: boolean;
  readonly cut: Cut | undefined;
}

function CutRow({ edge, finished, running, cut }: CutRowProps): JSX.Element {
  return (
    <tr class={running ? "running" : ""}>
      <th scope="row">
        <Mark system={finished.system} agent={edge.from} />
        {edge.from} → {edge.to}
        {edge.feedback ? " (to the next round)" : ""}
      </th>
      <td class="facts-answer">{cut?.recording.result?.answer ?? (running ? "…" : "–")}</td>
      <td>{cut && <Verdict right={verdict(cut.recording)} expected={finished.expected} />}</td>
      <td>{cut ? (cut.of === 0 ? "–" : `${cut.changed} of ${cut.of}`) : ""}</td>
      <td>{cut ? (cut.of === 0 ? "–" : formatPercent(cut.overlap)) : ""}</td>
    </tr>
  );
}
