/** Who is connected, which device holds which agent, and what was sent between them. */
import type { JSX } from "preact";
import type { Device } from "../../devices/api";
import { formatBytes, formatRound, totalBytes } from "../lib/format";
import { heldFiles } from "../model/held";
import { useStore } from "../state/store";
import { Mark } from "./mark";
import { TableScroll } from "./table-scroll";

/** The agent that acts now. */
function useActingAgent(): string | undefined {
  const { watch } = useStore();
  if (!watch.job.running.value) return undefined;
  const { active, turns } = watch.progress.value;
  return active === undefined ? undefined : turns[active]?.agent;
}

export function DeviceList(): JSX.Element {
  const { devices, session } = useStore();
  const system = session.system.value;
  const acting = useActingAgent();
  return (
    <ul class="device-list">
      {devices.devices.value.map((device) => {
        const agents = (system?.agents ?? []).filter(({ id }) => devices.places.value.get(id) === device.id);
        const acts = acting !== undefined && agents.some(({ id }) => id === acting);
        return (
          <li key={device.id} class={acts ? "device acts" : "device"} data-health={device.health}>
            <div class="device-head">
              <h3>{device.name}</h3>
              <span class="device-health">
                <span class="dot" aria-hidden="true" />
                {healthWords(device)}
              </span>
            </div>
            <ul class="device-agents">
              {agents.map(({ id }) => (
                <li key={id} class={id === acting ? "acting" : ""}>
                  {system && <Mark system={system} agent={id} />}
                  {id}
                </li>
              ))}
              {agents.length === 0 && <li class="none">holds no agent yet</li>}
            </ul>
            {device.problem && <p class="device-problem">{device.problem}</p>}
            {!device.self && (
              <p class="device-bytes">
                <span title="Everything on the channel, headers included">
                  ↑ {formatBytes(device.sentBytes)} sent there · ↓ {formatBytes(device.receivedBytes)} came
                  back
                </span>
                <button type="button" class="link" onClick={() => devices.dismiss(device.id)}>
                  {device.health === "closed" ? "Remove" : "Disconnect"}
                </button>
              </p>
            )}
            {device.self && <p class="device-bytes">{device.gpu || "this browser"}</p>}
          </li>
        );
      })}
    </ul>
  );
}

function healthWords({ self, health }: Device): string {
  if (self) return "this device, leads";
  switch (health) {
    case "open":
      return "connected";
    case "silent":
      return "does not answer";
    case "closed":
      return "gone";
    default:
      return "says hello";
  }
}

/** Gives agents to devices. */
export function Places(): JSX.Element | null {
  const { devices, session } = useStore();
  const system = session.system.value;
  const all = devices.devices.value;
  if (!system) return null;
  const mine = system.agents.filter(({ id }) => devices.places.value.get(id) === devices.id);
  const spare = devices.held.value.filter(({ id }) => !mine.some((agent) => agent.id === id));
  return (
    <section class="places">
      <h3>Which device holds which agent</h3>
      <TableScroll label="Agents and devices">
        <table class="facts">
          <thead>
            <tr>
              <th scope="col">Agent</th>
              <th scope="col">Device</th>
              <th scope="col">State</th>
              <th scope="col">Download</th>
              <th scope="col">GPU memory</th>
            </tr>
          </thead>
          <tbody>
            {system.agents.map((agent) => {
              const place = devices.places.value.get(agent.id) ?? devices.id;
              // Somebody must ask the question here.
              const last = mine.length === 1 && mine[0]?.id === agent.id;
              const files = heldFiles(system, [agent.id]).filter(
                ({ path }) => path.startsWith(agent.path) || path === agent.modelLib,
              );
              return (
                <tr key={agent.id}>
                  <th scope="row">
                    <Mark system={system} agent={agent.id} />
                    {agent.id}
                  </th>
                  <td>
                    <select
                      aria-label={`Device of ${agent.id}`}
                      value={place}
                      disabled={last}
                      title={last ? "This device keeps at least one agent" : undefined}
                      onChange={(event) => devices.assign(agent.id, event.currentTarget.value)}
                    >
                      {all.map((device) => (
                        <option key={device.id} value={device.id}>
                          {device.self ? `${device.name} (here)` : device.name}
                        </option>
                      ))}
                    </select>
                  </td>
                  <td>{stateWords(all, agent.id, place, session.phase.value === "loading")}</td>
                  <td>{formatBytes(totalBytes(files))}</td>
                  <td>{formatBytes(agent.memoryBytes)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </TableScroll>
      {spare.length > 0 && session.phase.value === "ready" && !session.busy.value && (
        <p class="places-spare">
          {spare.map(({ id }) => id).join(", ")} {spare.length === 1 ? "is" : "are"} still loaded here, too.{" "}
          <button type="button" class="link" onClick={() => devices.free()}>
            Free the memory
          </button>
        </p>
      )}
    </section>
  );
}

function stateWords(all: readonly Device[], agent: string, place: string, loading: boolean): string {
  const device = all.find(({ id }) => id === place);
  if (!device || device.health === "closed") return "gone";
  if (device.holds.includes(agent)) return device.health === "silent" ? "no answer" : "ready";
  if (device.self) return loading ? "loading" : "not loaded";
  return "waits for the other device";
}

/** Every hand-off of the last run that crossed a channel. */
export function Sent(): JSX.Element | null {
  const { devices } = useStore();
  const transfers = devices.transfers.value;
  if (transfers.length === 0) return null;
  const nameOf = (id: string): string => devices.devices.value.find((each) => each.id === id)?.name ?? "…";
  const total = transfers.reduce((sum, { bytes }) => sum + bytes, 0);
  return (
    <section class="sent">
      <h3>What was sent</h3>
      <p>
        {transfers.length} {transfers.length === 1 ? "hand-off" : "hand-offs"} crossed between devices:{" "}
        {formatBytes(total)} of {transfers[0]?.text ? "text" : "hidden states"}.
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: without it, people who use the keyboard cannot scroll. */}
      <section class="sent-scroll" aria-label="Hand-offs that were sent" tabIndex={0}>
        <table class="facts">
          <thead>
            <tr>
              <th scope="col">Hand-off</th>
              <th scope="col">When</th>
              <th scope="col">From</th>
              <th scope="col">To</th>
              <th scope="col" class="number">
                Bytes
              </th>
            </tr>
          </thead>
          <tbody>
            {transfers.map((each, index) => (
              <tr key={index}>
                <th scope="row">{each.edge.replace("->", " → ")}</th>
                <td>{formatRound(each.round)}</td>
                <td>{nameOf(each.from)}</td>
                <td>{nameOf(each.to)}</td>
                <td class="number">{formatBytes(each.bytes)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </section>
  );
}
