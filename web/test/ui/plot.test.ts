// @vitest-environment happy-dom
/** Charts, whose library is downloaded with the first of them. */
import { h, render } from "preact";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Chart } from "../../src/ui/parts/plot";

const LABEL = "Accuracy against rounds. Latent, 3 rounds: 99 %";
const root = document.createElement("div");

beforeEach(() => {
  document.body.append(root);
  vi.resetModules();
});

afterEach(() => {
  render(null, root);
  root.remove();
  vi.doUnmock("@observablehq/plot");
});

function draw(): void {
  const chart = (): Element => document.createElement("svg");
  render(h(Chart, { draw: chart, label: LABEL, height: 100, width: 200 }), root);
}

test("a chart is drawn, and its label says what it shows", async () => {
  draw();
  await vi.waitFor(() => expect(root.querySelector(".chart svg")).not.toBeNull(), { timeout: 60_000 });
  expect(root.querySelector(".chart")?.getAttribute("aria-label")).toBe(LABEL);
});

test("without its library the numbers are there, and how to get the chart", async () => {
  vi.doMock("@observablehq/plot", () => {
    throw new TypeError("Failed to fetch dynamically imported module");
  });
  draw();
  await vi.waitFor(() => expect(root.querySelector(".chart-missing")).not.toBeNull(), { timeout: 60_000 });
  expect(root.textContent).toContain("could not be downloaded; reload the page when there is a network");
  expect(root.textContent).toContain(LABEL);
});
