/** What a system consists of, how its links were trained and what was measured. */
import type { JSX } from "preact";
import type { System } from "../../engine/api";
import { formatPercent } from "../lib/format";
import { hasAdapters, linkTraining, type MeasuredTable, measuredTables } from "../model/provenance";
import { Mark } from "./mark";
import { TableScroll } from "./table-scroll";

const CONTROLS: Readonly<Record<string, string>> = {
  none: "",
  zeros: "hand-offs replaced with zeros",
  other_question: "hand-offs from another question",
};

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
        tables.map((table) => <Measured key={table.name} table={table} />)
      )}
    </section>
  );
}

function Measured({ table }: { table: MeasuredTable }): JSX.Element {
  return (
    <TableScroll label="Measured">
      <table class="facts">
        <caption>
          Measured in PyTorch before the system was built
          {table.data && <> on {table.data}</>}
          {table.seed !== null && <>, seed {table.seed}</>}
        </caption>
        <thead>
          <tr>
            <th scope="col">Mode</th>
            <th scope="col">Rounds</th>
            <th scope="col">Latent steps</th>
            <th scope="col">Right</th>
            <th scope="col">95 % interval</th>
            <th scope="col">Decoded tokens</th>
            <th scope="col">Questions</th>
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row) => (
            <tr key={`${row.mode}/${row.control}/${row.rounds}/${row.latentSteps}`}>
              <th scope="row">
                {row.mode}
                {row.control !== "none" && <small> {CONTROLS[row.control] ?? row.control}</small>}
              </th>
              <td>{row.rounds}</td>
              <td>{row.latentSteps}</td>
              <td>
                <b>{formatPercent(row.accuracy)}</b>
              </td>
              <td>
                {formatPercent(row.low)} to {formatPercent(row.high)}
              </td>
              <td>{row.decodedTokens.toFixed(1)}</td>
              <td>{row.questions}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableScroll>
  );
}
