/** A chart by Observable Plot, which is downloaded with the first chart. */
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

type PlotModule = typeof import("@observablehq/plot");
type Draw = (plot: PlotModule, width: number) => Element;

interface ChartProps {
  /** Runs again whenever it changes; keep it stable with `useCallback`. */
  readonly draw: Draw;
  /** What the chart shows, with its numbers: for screen readers, and where there is no chart. */
  readonly label: string;
  readonly height: number;
  readonly width: number;
}

export function Chart({ draw, label, height, width }: ChartProps): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const missing = useSignal(false);
  useEffect(() => {
    let gone = false;
    const show = (plot: PlotModule): void => {
      if (gone || !host.current) return;
      const chart = draw(plot, width);
      // Plot adds a style element, which the page's content security policy refuses; tables.css has its rules.
      for (const style of chart.querySelectorAll("style")) style.remove();
      // Screen readers read the label; otherwise they would read every mark.
      chart.setAttribute("aria-hidden", "true");
      host.current.replaceChildren(chart);
    };
    const fail = (): void => {
      missing.value = true;
    };
    void import("@observablehq/plot").then(show, fail);
    return () => {
      gone = true;
    };
  }, [draw, width, missing]);
  if (missing.value) {
    return (
      <p class="fine chart-missing">
        The chart is missing, because the part of the page that draws it could not be downloaded; reload the
        page when there is a network. {label}
      </p>
    );
  }
  return <div class="chart" role="img" aria-label={label} ref={host} style={{ minHeight: `${height}px` }} />;
}
