/** Several devices in one system: connecting them, who holds what, and what hand-offs cost against text. */
import type { JSX } from "preact";
import { formatBytes, formatDuration, totalBytes } from "../lib/format";
import { heldFiles } from "../model/held";
import { modeOf } from "../model/modes";
import { verdict } from "../model/recording";
import { JobButton, Verdict } from "../parts/controls";
import { DeviceList, Places, Sent } from "../parts/device-list";
import { Mark } from "../parts/mark";
import { InvitePanel, JoinPanel, PairingSettings } from "../parts/pairing";
import type { Measured } from "../state/devices";
import { useStore } from "../state/store";

export function DevicesView(): JSX.Element {
  const { devices } = useStore();
  const role = devices.role.value;
  return (
    <div class="devices">
      <div class="view-head">
        <h2>Several devices, one system</h2>
        {role !== "alone" && (
          <div class="view-tools">
            <button type="button" class="button" onClick={() => devices.leave()}>
              {role === "leader" ? "End the session" : "Leave"}
            </button>
          </div>
        )}
      </div>
      {devices.problem.value && (
        <p class="devices-problem" role="alert">
          {devices.problem.value}
        </p>
      )}
      {role === "member" ? <AsMember /> : devices.joining.value ? <JoinPanel /> : <AsLeader />}
    </div>
  );
}

function AsLeader(): JSX.Element {
  const { devices, session, watch, asked } = useStore();
  const alone = devices.role.value === "alone";
  const recording = watch.recording.value;
  const several = devices.devices.value.length > 1;
  return (
    <>
      {!several && (
        <p class="view-lead">
          Each device holds some of the agents, and their thoughts travel from browser to browser over an
          encrypted connection. There is no server in between: you carry a link to the other device, and its
          reply back. Every device needs this page, the same system and the same links.
        </p>
      )}
      {!alone && <Waiting />}
      {!alone && <DeviceList />}
      <InvitePanel />
      {alone && <JoinPanel />}
      {several && <Places />}
      {several && recording?.result && watch.frame.value === recording.events.length && (
        <p class="devices-answer">
          <span>The last answer:</span> <b>{recording.result.answer || "–"}</b>{" "}
          <Verdict right={verdict(recording)} expected={recording.expected} />
        </p>
      )}
      <Sent />
      {several && (
        <section class="devices-compare">
          <h3>Thoughts against words</h3>
          <p>
            The same question on the same devices, once with latent hand-offs and once with text: what
            travels, and how long the run takes.
          </p>
          <JobButton
            job={devices.job}
            disabled={
              session.phase.value !== "ready" || session.busy.value || !asked.value?.options.question.trim()
            }
            onStart={() => asked.value && void devices.compare(asked.value)}
          >
            {devices.measured.value.length > 0 ? "Compare again" : "Compare on this question"}
          </JobButton>
          <Comparison measured={devices.measured.value} />
        </section>
      )}
      <PairingSettings />
    </>
  );
}

/** Why a run does not go on, and what helps. */
function Waiting(): JSX.Element | null {
  const { devices } = useStore();
  const agent = devices.waitsFor.value;
  if (agent === undefined) return null;
  const place = devices.places.value.get(agent);
  const device = devices.devices.value.find(({ id }) => id === place);
  const why =
    device?.self || !device
      ? "It is being loaded here."
      : device.health === "closed"
        ? `${device.name} is gone. Invite it again, or take the agent over.`
        : `${device.name} has not loaded it yet.`;
  return (
    <div class="devices-waiting" role="status">
      <p>
        <b>The run waits for the {agent}.</b> {why}
      </p>
      {device && !device.self && (
        <button type="button" class="button strong" onClick={() => devices.assign(agent, devices.id)}>
          Take the {agent} over here
        </button>
      )}
    </div>
  );
}

function Comparison({ measured }: { measured: readonly Measured[] }): JSX.Element | null {
  const { watch, page } = useStore();
  if (measured.length === 0) return null;
  const most = (value: (each: Measured) => number): number => Math.max(1, ...measured.map(value));
  const [bytes, ms] = [most((each) => each.bytes), most((each) => each.recording.result.ms)];
  return (
    <ul class="measured">
      {measured.map((each) => {
        const { result } = each.recording;
        const waited = Math.max(0, result.ms - each.computingMs);
        return (
          <li key={each.mode}>
            <h4>{modeOf(each.mode).label}</h4>
            <p class="measured-answer">
              {result.answer || "–"}{" "}
              <Verdict right={verdict(each.recording)} expected={each.recording.expected} />
            </p>
            <dl>
              <Measure label="sent" share={each.bytes / bytes} value={formatBytes(each.bytes)}>
                {each.crossings} {each.crossings === 1 ? "hand-off" : "hand-offs"}
              </Measure>
              <Measure label="time" share={result.ms / ms} value={formatDuration(result.ms)}>
                {formatDuration(waited)} of it between turns
              </Measure>
            </dl>
            <button
              type="button"
              class="link"
              onClick={() => {
                watch.open(each.recording);
                page.set({ view: "watch" });
              }}
            >
              Watch this run
            </button>
          </li>
        );
      })}
    </ul>
  );
}

function Measure(props: {
  label: string;
  share: number;
  value: string;
  children: preact.ComponentChildren;
}): JSX.Element {
  const { label, share, value, children } = props;
  return (
    <div>
      <dt>{label}</dt>
      <dd>
        <span class="lane-bar" style={{ "--share": Math.min(1, share) }} />
        <b>{value}</b>
        <small>{children}</small>
      </dd>
    </div>
  );
}

/** What an invited device shows: who leads, which agents it holds, and what it is doing. */
function AsMember(): JSX.Element | null {
  const { devices, session } = useStore();
  const membership = devices.membership.value;
  const system = session.system.value;
  if (!membership || !system) return null;
  const { leader, health, wanted, acts, turns, sentBytes, receivedBytes } = membership;
  const held = devices.held.value.map(({ id }) => id);
  const missing = wanted.filter((id) => !held.includes(id));
  const loading = session.phase.value === "loading";
  const size = totalBytes(heldFiles(system, wanted));
  return (
    <section class="membership" data-health={health}>
      <p class="membership-state" role="status">
        <span class="dot" aria-hidden="true" />
        {memberWords(health, leader, acts)}
      </p>
      <ul class="device-agents">
        {wanted.map((id) => (
          <li key={id} class={id === acts ? "acting" : ""}>
            <Mark system={system} agent={id} />
            {id}
            <small>{held.includes(id) ? "ready" : loading ? "loading" : "not loaded"}</small>
          </li>
        ))}
      </ul>
      {health !== "closed" && wanted.length === 0 && (
        <p>{leader ?? "The device that leads"} has not given this device an agent yet.</p>
      )}
      {health !== "closed" && missing.length > 0 && !loading && (
        <p>
          <button type="button" class="button strong" onClick={() => void devices.holdWanted()}>
            Load {missing.length === 1 ? `the ${missing[0]}` : `${missing.length} agents`}
          </button>{" "}
          {formatBytes(size)} to download, less what this browser has already.
        </p>
      )}
      <p class="device-bytes">
        {turns} {turns === 1 ? "turn" : "turns"} taken · ↑ {formatBytes(sentBytes)} sent · ↓{" "}
        {formatBytes(receivedBytes)} received
      </p>
      {health !== "closed" && (
        <p class="membership-note">Keep this page open; questions are asked on the other device.</p>
      )}
    </section>
  );
}

function memberWords(health: string, leader: string | undefined, acts: string | undefined): string {
  const name = leader ?? "the other device";
  if (health === "closed") return `The connection to ${name} has ended.`;
  if (health === "greeting") return "Connecting…";
  if (health === "silent") return `${name} does not answer.`;
  return acts === undefined ? `Connected to ${name}, which leads.` : `The ${acts} is thinking for ${name}.`;
}
