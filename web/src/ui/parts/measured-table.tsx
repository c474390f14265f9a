/** What `rmas eval` measured, row by row: of a system's manifest, or of a record of shared links. */
import type { ComponentChildren, JSX } from "preact";
import { formatExactPercent } from "../lib/format";
import type { MeasuredRow } from "../model/provenance";
import { TableScroll } from "./table-scroll";

const CONTROLS: Readonly<Record<string, string>> = {
  zeros: "hand-offs replaced with zeros",
  other_question: "hand-offs from another question",
};

/** One report; the caption says who measured it, and on which questions. */
export function MeasuredTable(props: {
  /** Tells the table from others on the page. */
  readonly label: string;
  readonly caption: ComponentChildren;
  readonly rows: readonly MeasuredRow[];
}): JSX.Element {
  return (
    <TableScroll label={props.label}>
      <table class="facts">
        <caption>{props.caption}</caption>
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
          {props.rows.map((row, index) => (
            <tr key={index}>
              <th scope="row">
                {row.mode}
                {row.control && row.control !== "none" && (
                  <small> {CONTROLS[row.control] ?? row.control}</small>
                )}
                {typeof row.threshold === "number" && <small> stops early at {row.threshold}</small>}
              </th>
              <td>{row.rounds}</td>
              <td>{row.latentSteps}</td>
              <td>
                <b>{formatExactPercent(row.accuracy)}</b>
              </td>
              <td>
                {formatExactPercent(row.low)} to {formatExactPercent(row.high)}
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
