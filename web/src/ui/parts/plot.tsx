/** A chart by Observable Plot, fetched when the first one is needed. */
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

type PlotModule = typeof import("@observablehq/plot");
type Draw = (plot: PlotModule, width: number) => Element;

interface ChartProps {
  /** Called again when it changes; keep it stable with `useCallback`. */
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
      // Plot brings its style along in the drawing, which the page's security policy refuses; chart.css has it instead.
      for (const style of chart.querySelectorAll("style")) style.remove();
      // The label says it all; the marks would be read one by one.
      chart.setAttribute("aria-hidden", "true");
      host.current.replaceChildren(chart);
    });
    return () => {
      gone = true;
    };
  }, [draw, width]);
  return <div class="chart" role="img" aria-label={label} ref={host} style={{ minHeight: `${height}px` }} />;
}
