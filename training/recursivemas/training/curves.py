"""Training curves as PNG: losses, cosines, and gradient norms by round and link."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from recursivemas.training.figures import save_figure, smooth


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics log, without a last line that is still being written."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def draw_curves(metrics: Path, path: Path) -> None:
    """Draws a metrics log, which may still grow."""
    lines = [line for line in read_metrics(metrics) if "step" in line]
    figure = Figure(figsize=(14, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    parts: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        parts.setdefault(line["phase"].partition(", refinement")[0], []).append(line)
    for name, own in parts.items():
        steps = list(range(1, len(own) + 1))
        if name == "outer":
            _draw_outer(axes[1], own, steps)
            continue
        axes[0, 0].plot(steps, smooth([line["loss"] for line in own]), label=name)
        if "cosine" in own[0]:  # an adapter's training has none
            axes[0, 1].plot(steps, smooth([1 - line["cosine"] for line in own]), label=name)
    axes[0, 0].set(title="inner links and alignment, then each refinement: loss", yscale="log", xlabel="step")
    axes[0, 1].set(title="inner links and alignment: 1 - cosine", yscale="log", xlabel="step")
    axes[1, 0].set(title="outer loop: cross-entropy of the answer", xlabel="step")
    axes[1, 1].set(title="gradient norm per hand-off and round, before clipping", yscale="log", xlabel="step")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    save_figure(figure, path)


def _draw_outer(axes: Any, own: list[dict[str, Any]], steps: list[int]) -> None:
    axes[0].plot(steps, smooth([line["loss"] for line in own]), label="loss")
    for key in sorted({key for line in own for key in line if key.startswith("handoff_gradient/")}):
        norms = [line.get(key, np.nan) for line in own]
        axes[1].plot(steps, smooth(norms), label=key.removeprefix("handoff_gradient/"))


def main() -> None:
    """Draws a run's curves, also while it is still going: `python -m recursivemas.training.curves RUN`."""
    parser = argparse.ArgumentParser(description="Draw curves.png of a training run, which may still be going.")
    parser.add_argument("run", type=Path, help="The folder that rmas train writes to.")
    run = parser.parse_args().run
    if not (run / "metrics.jsonl").is_file():
        parser.error(f"{run}: no metrics.jsonl there; name the --out folder of rmas train")
    draw_curves(run / "metrics.jsonl", run / "curves.png")


if __name__ == "__main__":
    main()
