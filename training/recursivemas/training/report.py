"""Measured cells as JSON and as a picture."""

import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
import transformers

from recursivemas.system.files import write_text_atomic
from recursivemas.system.system import System
from recursivemas.training.evaluate import Cell

matplotlib.use("Agg")

from matplotlib import pyplot as plt


def versions() -> dict[str, str]:
    """What made a measurement."""
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


def save_report(out: Path, system: System, links: Path | None, source: str, seed: int, cells: Sequence[Cell]) -> None:
    """Writes `eval.json` and `eval.png` into `out`; the sha256 of the link file says what was measured."""
    record = {
        "system": system.name,
        **({"links_sha256": hashlib.sha256(links.read_bytes()).hexdigest()} if links is not None else {}),
        "data": Path(source).name,
        "seed": seed,
        "versions": versions(),
        "cells": [cell.row() for cell in cells],
    }
    write_text_atomic(out / "eval.json", json.dumps(record, indent=1) + "\n")
    draw_cells(cells, system.name, out / "eval.png")


def draw_cells(cells: Sequence[Cell], title: str, path: Path) -> None:
    """Accuracy over rounds, one line a mode, control and number of latent steps, with 95% intervals."""
    lines: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        name = [cell.mode] if cell.control == "none" else [cell.mode, cell.control]
        lines.setdefault((*name, f"M={cell.latent_steps}"), []).append(cell)
    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for name, points in lines.items():
        ordered = sorted(points, key=lambda cell: cell.rounds)
        middle = [cell.accuracy for cell in ordered]
        error = [[c.accuracy - c.low for c in ordered], [c.high - c.accuracy for c in ordered]]
        axis.errorbar([c.rounds for c in ordered], middle, yerr=error, marker="o", capsize=3, label=", ".join(name))
    axis.set(title=title, xlabel="rounds", ylabel="accuracy (95% interval)", ylim=(0, 1.02))
    axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Saves a figure as PNG whole or not at all, and closes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.stem + ".part.png")
    figure.savefig(temporary, dpi=130)
    plt.close(figure)
    temporary.replace(path)
