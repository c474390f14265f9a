"""Measured cells as JSON and as a picture."""

import json
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recursivemas.system.files import sha256_of, write_text_atomic
from recursivemas.system.names import Weights
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.system import System
from recursivemas.training.evaluation.evaluate import Cell
from recursivemas.training.figures import save_figure


def versions() -> dict[str, str]:
    """Versions of the software that made a measurement."""
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


def save_report(
    out: Path,
    system: System,
    links: Path | None,
    weights: Weights,
    source: str,
    seed: int,
    cells: Sequence[Cell],
    records: Sequence[QuestionRecord],
) -> None:
    """Writes `eval.json`, with every question and answer, and `eval.png` into `out`.

    The sha256 of the link file names the measured links.
    """
    record = {
        "system": system.name,
        **({"links_sha256": sha256_of(links)} if links is not None else {}),
        "weights": weights,
        "data": Path(source).name,
        "seed": seed,
        "versions": versions(),
        "cells": [{**cell.row(), "answers": cell.answered(records)} for cell in cells],
    }
    write_text_atomic(out / "eval.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    draw_cells(cells, system.name, out / "eval.png")


def draw_cells(cells: Sequence[Cell], title: str, path: Path) -> None:
    """Draws accuracy over rounds with 95% intervals; each mode, control and number of latent steps is a line."""
    lines: dict[str, list[Cell]] = {}
    for cell in cells:
        control = "" if cell.control == "none" else f", {cell.control}"
        early = "" if cell.threshold is None else f", stops at {cell.threshold:g}"
        lines.setdefault(f"{cell.mode}{control}, M={cell.latent_steps}{early}", []).append(cell)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    for label, points in lines.items():
        ordered = sorted(points, key=lambda cell: cell.rounds)
        middle = [cell.accuracy for cell in ordered]
        error = [[c.accuracy - c.low for c in ordered], [c.high - c.accuracy for c in ordered]]
        axis.errorbar([c.rounds for c in ordered], middle, yerr=error, marker="o", capsize=3, label=label)
    axis.set(title=title, xlabel="rounds", ylabel="accuracy (95% interval)", ylim=(0, 1.02))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    save_figure(figure, path)
