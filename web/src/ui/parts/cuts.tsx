/** One edge after the other cut, and what became of the answer. */
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { TaskQuestion } from "../../engine/api";
import { formatPercent } from "../lib/format";
import { type Finished, verdict } from "../model/recording";
import type { EdgeView } from "../model/system-view";
import type { Cut, Instead } from "../state/ablate";
import type { Session } from "../state/session";
import { useStore } from "../state/store";
import { Verdict } from "./controls";
import { Mark } from "./mark";

export function Cuts({ finished }: { finished: Finished }): JSX.Element {
  const { ablate, session } = useStore();
  const open = finished.options.edges ?? [];
  const edges = finished.system.edges.filter(({ id }) => open.includes(id));
  const obstacle = whyNot(finished, session);
  const running = ablate.running.value;
  const instead = useSignal<Instead["kind"]>("nothing");
  const text = finished.options.mode === "text";
  const other = otherQuestion(session.questions.value, finished.options.question);
  const handsOver = finished.options.mode === "latent" || finished.options.mode === "text";
  if (!handsOver)
    return <p class="view-empty">A lone agent hands nothing over, so there is nothing to cut.</p>;
  return (
    <>
      <div class="view-tools">
        <label>
          Put in its place{" "}
          <select
            value={instead.value}
            disabled={running !== undefined}
            onChange={(event) => {
              instead.value = event.currentTarget.value as Instead["kind"];
            }}
          >
            <option value="nothing">nothing: the slot stays empty</option>
            <option value="zeros" disabled={text}>
              zeros
            </option>
            <option value="other" disabled={text || other === undefined}>
              another question’s thoughts
            </option>
          </select>
        </label>
        {running === undefined ? (
          <button
            type="button"
            class="button"
            disabled={obstacle !== undefined || session.busy.value || edges.length === 0}
            onClick={() =>
              void ablate.start(
                finished,
                edges.map(({ id }) => id),
                instead.value === "other"
                  ? { kind: "other", question: other ?? "" }
                  : { kind: instead.value },
              )
            }
          >
            Cut each edge in turn
          </button>
        ) : (
          <button type="button" class="button" onClick={() => ablate.cancel()}>
            Cancel
          </button>
        )}
        {obstacle && <span class="fine">{obstacle}</span>}
      </div>
      <div class="table-scroll">
        <table class="facts">
          <thead>
            <tr>
              <th scope="col">Cut</th>
              <th scope="col">Answer</th>
              <th scope="col">
                <span class="visually-hidden">Right or wrong</span>
              </th>
              <th scope="col">Thoughts that read differently</th>
              <th scope="col">Overlap of readings</th>
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
                running={running === edge.id}
                cut={
                  ablate.whole.value === finished
                    ? ablate.cuts.value.find((each) => each.edge === edge.id)
                    : undefined
                }
              />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

/** @returns why a run cannot be cut with what is loaded, in a sentence; undefined when it can. */
function whyNot({ system: { name }, origin }: Finished, session: Session): string | undefined {
  const system = session.system.value;
  if (session.phase.value !== "ready" || system?.name !== name) return `Load ${name} to try it.`;
  if (!origin)
    return "This run was saved without a note of the build that made it, so cuts of what is loaded cannot be set against it.";
  if (origin.manifest !== system.sha256)
    return `Another build of ${name} made this run: open that one to cut it.`;
  if (origin.links !== session.links.value?.name)
    return `This run was made with ${origin.links ?? "the system’s own links"}: open those to cut it.`;
  return undefined;
}

/** @returns another question of the same group, if the set has one. */
function otherQuestion(held: readonly TaskQuestion[], question: string): string | undefined {
  const group = held.find((each) => each.question === question)?.group;
  const others = held.filter((each) => each.question !== question);
  return (others.find((each) => each.group === group) ?? others[0])?.question;
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
        {edge.feedback ? " (next round)" : ""}
      </th>
      <td class="facts-answer">{cut?.recording.result?.answer ?? (running ? "…" : "–")}</td>
      <td>{cut && <Verdict right={verdict(cut.recording)} expected={finished.expected} />}</td>
      <td>{cut ? (cut.of === 0 ? "–" : `${cut.changed} of ${cut.of}`) : ""}</td>
      <td>{cut ? (cut.of === 0 ? "–" : formatPercent(cut.overlap)) : ""}</td>
    </tr>
  );
}
