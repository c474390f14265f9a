/** The Links view: which links the agents use, and those that other people share for them. */
import type { JSX } from "preact";
import type { System } from "../../engine/api";
import { linkTraining } from "../model/provenance";
import { knowsWeights, misfits, repositoryPage } from "../model/shared-links";
import { Bar } from "../parts/controls";
import { SharedRecord } from "../parts/shared-record";
import type { Found } from "../state/shared";
import { useStore } from "../state/store";

export function LinksView(): JSX.Element {
  const { session } = useStore();
  const system = session.system.value;
  if (!system) return <div class="stage-blank" />;
  return (
    <div class="links">
      <div class="view-head">
        <h2>Links</h2>
      </div>
      <p class="view-lead">
        The agents are language models whose weights stay as they are. What lets them pass on thoughts are the
        links between them, small modules that were trained for exactly these agents. People train links for
        other purposes and share them without the agents.
      </p>
      <InUse system={system} />
      <OnTheHub system={system} />
      <section class="inside-part">
        <h3>Gallery</h3>
        <p>
          <a href="./gallery.html">The gallery</a> shows the links that come with this project, with their
          agents, their training and what was measured.
        </p>
      </section>
    </div>
  );
}

function InUse({ system }: { system: System }): JSX.Element {
  const { session } = useStore();
  const links = session.links.value;
  const training = linkTraining(system.provenance);
  return (
    <section class="inside-part">
      <h3>In use</h3>
      {links ? (
        <>
          <p>Links from {links.name}, instead of the system’s own.</p>
          <button
            type="button"
            class="button"
            disabled={session.busy.value}
            onClick={() => void session.useLinks(undefined)}
          >
            Use the system’s own links
          </button>
        </>
      ) : (
        <p>
          The system’s own links
          {training ? `: ${training}` : ". The manifest does not say how they were trained"}.
        </p>
      )}
    </section>
  );
}

function OnTheHub({ system }: { system: System }): JSX.Element {
  const { session, shared } = useStore();
  const looking = shared.looking.value;
  const found = shared.found.value;
  return (
    <section class="inside-part" aria-label="On the Hugging Face Hub">
      <h3>On the Hugging Face Hub</h3>
      <p>
        The page asks huggingface.co only when you press the button. It reads a list of repositories and a
        short record of each, and says which of them fit the agents that are open. Links are downloaded when
        you choose to use them, and their fingerprint is checked.
      </p>
      <div class="view-tools">
        <button
          type="button"
          class="button strong"
          disabled={looking !== undefined}
          onClick={() => void shared.look()}
        >
          {found ? "Look again" : "Look for shared links"}
        </button>
        {(looking !== undefined || shared.opening.value) && (
          <button type="button" class="button" onClick={() => shared.cancel()}>
            Cancel
          </button>
        )}
      </div>
      <div class="shared-progress">
        {looking !== undefined && <Bar share={looking} label="Reading the records" />}
      </div>
      <p class="shared-problem" role="alert">
        {shared.problem.value}
      </p>
      {found && <Results found={found} system={system} disabled={session.busy.value} />}
    </section>
  );
}

interface ResultsProps {
  readonly found: readonly Found[];
  readonly system: System;
  readonly disabled: boolean;
}

function Results({ found, system, disabled }: ResultsProps): JSX.Element {
  const judged = found.map((each) => ({
    each,
    reasons: each.record
      ? misfits(each.record, system)
      : [`Its record cannot be read. ${each.problem ?? ""}`],
  }));
  const fitting = judged.filter(({ reasons }) => reasons.length === 0);
  const others = judged.filter(({ reasons }) => reasons.length > 0);
  if (found.length === 0) return <p class="view-empty">Nobody shares links there yet.</p>;
  return (
    <>
      <h4>
        {fitting.length === 0
          ? "None of them fits these agents"
          : `${fitting.length} ${fitting.length === 1 ? "fits" : "fit"} these agents`}
      </h4>
      {fitting.length > 0 && !knowsWeights(system) && (
        <p class="fine">
          This system’s manifest does not say which weights its agents have, so only names and sizes were
          compared.
        </p>
      )}
      <ul class="shared-list">
        {fitting.map(({ each }) => (
          <SharedCard key={each.id} found={each} reasons={[]} disabled={disabled} />
        ))}
      </ul>
      {others.length > 0 && (
        <details class="shared-others">
          <summary>
            {others.length} {others.length === 1 ? "does" : "do"} not fit, and why
          </summary>
          <ul class="shared-list">
            {others.map(({ each, reasons }) => (
              <SharedCard key={each.id} found={each} reasons={reasons} disabled={disabled} />
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

interface SharedCardProps {
  readonly found: Found;
  /** Why the links do not fit; empty if they do. */
  readonly reasons: readonly string[];
  readonly disabled: boolean;
}

function SharedCard({ found, reasons, disabled }: SharedCardProps): JSX.Element {
  const { shared } = useStore();
  const opening = shared.opening.value === found.id;
  return (
    <li class="shared-card">
      <h5>
        <a href={repositoryPage(found)} target="_blank" rel="noreferrer">
          {found.id}
        </a>{" "}
        <small>at {found.revision.slice(0, 7)}</small>
      </h5>
      {reasons.map((reason) => (
        <p key={reason} class="shared-reason">
          {reason}
        </p>
      ))}
      {found.record && <SharedRecord record={found.record} name={found.id} />}
      {reasons.length === 0 && (
        <div class="view-tools">
          <button
            type="button"
            class="button"
            disabled={disabled || shared.opening.value !== undefined}
            onClick={() => void shared.open(found)}
          >
            Use these links
          </button>
          {opening && <Bar share={shared.arrived.value} label="Downloading the links" />}
        </div>
      )}
    </li>
  );
}
