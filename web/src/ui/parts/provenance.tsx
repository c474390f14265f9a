/** What a system consists of, how its links were trained and what was measured. */
import type { JSX } from "preact";
import type { System } from "../../engine/api";
import { hasAdapters, linkTraining, measuredTables } from "../model/provenance";
import { Mark } from "./mark";
import { MeasuredTable } from "./measured-table";
import { TableScroll } from "./table-scroll";

export function Provenance({ system }: { system: System }): JSX.Element {
  const tables = measuredTables(system.provenance);
  const training = linkTraining(system.provenance);
  return (
    <section class="provenance">
      <h3>What {system.name} consists of</h3>
      <TableScroll label="Agents">
        <table class="facts">
          <thead>
            <tr>
              <th scope="col">Agent</th>
              <th scope="col">Model</th>
              <th scope="col">Family</th>
              <th scope="col">Layers</th>
              <th scope="col">Hidden size</th>
              <th scope="col">Vocabulary size</th>
              <th scope="col">Weights</th>
            </tr>
          </thead>
          <tbody>
            {system.agents.map((agent) => (
              <tr key={agent.id}>
                <th scope="row">
                  <Mark system={system} agent={agent.id} />
                  {agent.id}
                </th>
                <td>{agent.model}</td>
                <td>{agent.architecture}</td>
                <td>{agent.numHiddenLayers}</td>
                <td>{agent.hiddenSize}</td>
                <td>{agent.vocabSize}</td>
                <td>{agent.quantization}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      <p>
        {training
          ? `The agents are frozen. Only the links between them were trained: ${training}.`
          : "The manifest does not say how the links were trained."}
        {hasAdapters(system.provenance) &&
          " Before that, small adapters were trained for some of the agents; they are merged into the weights."}
      </p>
      {tables.length === 0 ? (
        <p>
          This system was built without recorded measurements. You can measure it yourself: the Measure view
          asks its held-out questions.
        </p>
      ) : (
        tables.map(({ name, data, seed, rows }) => (
          <MeasuredTable
            key={name}
            label={`Measured: ${name}`}
            caption={`Measured in PyTorch${data && ` on ${data}`}${seed === null ? "" : `, seed ${seed},`} before the system was built`}
            rows={rows}
          />
        ))
      )}
    </section>
  );
}
