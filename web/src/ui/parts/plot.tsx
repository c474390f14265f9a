/** A chart by Observable Plot, which is downloaded with the first chart. */
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

type PlotModule = typeof import("@observablehq/plot");
type Draw = (plot: PlotModule, width: number) => Element;

interface ChartProps {
  /** Runs again whenever it changes; keep it stable with `useCallback`. */
  readonly draw: Draw;
  readonly label: string;
  readonly height: number;
  readonly width: number;
}

export function Chart({ draw, label, height, width }: ChartProps): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let gone = false;
    void import("@observablehq/plot").then((plot) => {
      if (gone || !host.current) return;
      const chart = draw(plot, width);
      // Plot adds a style element, which the page's content security policy refuses; tables.css has its rules.
      for (const style of chart.querySelectorAll("style")) style.remove();
      // Screen readers read the label; otherwise they would read every mark.
      chart.setAttribute("aria-hidden", "true");
      host.current.replaceChildren(chart);
    });
    return () => {
      gone = true;
    };
  }, [draw, width]);
  return <div class="chart" role="img" aria-label={label} ref={host} style={{ minHeight: `${height}px` }} />;
}
