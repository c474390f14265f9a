/** What the record of shared links says: agents, form, training and measurements. */
import type { JSX } from "preact";
import type { Measurement, SharedLinks } from "../../formats/generated/types";
import { formatBytes, formatExactPercent } from "../lib/format";
import { MeasuredTable } from "./measured-table";
import { TableScroll } from "./table-scroll";

interface SharedRecordProps {
  readonly record: SharedLinks;
  /** Tells the record from others on the page. */
  readonly name: string;
}

export function SharedRecord({ record, name }: SharedRecordProps): JSX.Element {
  const { trained, links } = record;
  const best = bestOf(record.measured);
  return (
    <div class="shared-record">
      <p>{record.description}</p>
      <ul class="shared-facts">
        <li>
          Links of {record.system}: pattern {record.pattern}, form <code>{record.variant}</code>,{" "}
          {formatBytes(links.sizeBytes)}, licence {record.license}, sha256{" "}
          <code title={links.sha256}>{links.sha256.slice(0, 12)}</code>
        </li>
        <li>
          Trained on {trained.data} for {trained.rounds} rounds of {trained.latentSteps} latent steps, seed{" "}
          {trained.seed}, on {trained.device}
        </li>
        {trained.agentsChanged && <li>Changed after the training: {trained.agentsChanged}</li>}
        <li>
          {best
            ? `Measured: ${formatExactPercent(best.accuracy)} right (95 % interval ${formatExactPercent(best.low)} to ${formatExactPercent(best.high)}) in ${best.rounds} rounds, ${best.questions} questions of ${best.data}`
            : "Nothing was measured with these links in latent mode."}
        </li>
      </ul>
      <details>
        <summary>Agents{record.measured.length > 0 && " and measurements"}</summary>
        <Agents record={record} name={name} />
        {record.measured.length > 0 && (
          <MeasuredTable
            label={`Measured with the links of ${name}`}
            caption="Measured in PyTorch by whoever shares the links"
            rows={record.measured}
          />
        )}
      </details>
    </div>
  );
}

/** The most accurate row of latent mode. */
function bestOf(rows: readonly Measurement[]): Measurement | undefined {
  const latent = rows.filter(
    ({ mode, control, threshold }) =>
      mode === "latent" && (control ?? "none") === "none" && typeof threshold !== "number",
  );
  return latent.reduce<Measurement | undefined>(
    (best, row) => (best && best.accuracy >= row.accuracy ? best : row),
    undefined,
  );
}

function Agents({ record, name }: SharedRecordProps): JSX.Element {
  return (
    <TableScroll label={`Agents of ${name}`}>
      <table class="facts">
        <thead>
          <tr>
            <th scope="col">Agent</th>
            <th scope="col">Checkpoint</th>
            <th scope="col">Family</th>
            <th scope="col">Hidden size</th>
            <th scope="col">Adapter</th>
            <th scope="col">sha256 of the weights</th>
          </tr>
        </thead>
        <tbody>
          {record.agents.map((agent) => (
            <tr key={agent.id}>
              <th scope="row">{agent.id}</th>
              <td>
                {agent.model}
                {agent.revision && ` at ${agent.revision.slice(0, 7)}`}
              </td>
              <td>{agent.architecture}</td>
              <td>{agent.hiddenSize}</td>
              <td>{agent.adapter ? agent.adapter.name : "none"}</td>
              <td>
                <code title={agent.weightsSha256}>{agent.weightsSha256.slice(0, 12)}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableScroll>
  );
}
