"""What cross-entropy of the answer adds to ridge links of the chain task, by number of steps.

Alignment and refinement are left out, so that the answers alone teach the outer links. Links are kept on the way of one
run, whose learning rate falls to zero over all its steps.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from recursivemas.system.files import write_text_atomic
from recursivemas.system.links_file import load_links
from recursivemas.system.system import System, load_system
from recursivemas.training.agents import load_agents
from recursivemas.training.curves import read_metrics
from recursivemas.training.evaluation.evaluate import evaluate
from recursivemas.training.evaluation.report import versions
from recursivemas.training.evaluation.statistics import over_seeds, wilson
from recursivemas.training.figures import save_figure, smooth
from recursivemas.training.links import Links
from recursivemas.training.recursion import Recursion
from recursivemas.training.tasks.data import load_records
from recursivemas.training.train.trainer import train_system

NAME = "chain-cross-entropy"
SYSTEM = "hop-sequential.yaml"
STEPS = (0, 60, 100, 200, 300)
LEARNING_RATE = 5e-5


def _system(systems: Path, seed: int) -> System:
    """The chain's system, trained with cross-entropy alone from ridge links."""
    system = load_system(systems / SYSTEM)
    outer = {"alignment_steps": 0, "steps": STEPS[-1], "learning_rate": LEARNING_RATE}
    training = system.training
    changes: dict[str, Any] = {
        "seed": seed,
        "inner": training.inner.model_copy(update={"refinements": 0}),
        "outer": training.outer.model_copy(update=outer),
    }
    return system.model_copy(update={"training": training.model_copy(update=changes)})


def run_seed(seed: int, work: Path, systems: Path) -> Path:
    """Trains and measures one seed, or goes on where it stopped; returns the file of its results."""
    torch.set_num_threads(1)
    path = _result(seed, work)
    folder = path.parent
    if path.is_file():
        return path
    system = _system(systems, seed)
    agents = load_agents(system)
    train_system(system, folder, resume=True, agents=agents, keep_at=STEPS, device="cpu")
    assert system.task is not None and system.task.data is not None
    records = load_records(system.task.data)
    points = []
    for step in STEPS:
        links = Links.from_file(load_links(folder / "stages" / f"outer-{step}.json")).requires_grad_(False)
        cell = evaluate(Recursion(system, agents, links), records)
        points.append({"step": step, "correct": "".join(str(int(mark)) for mark in cell.correct)})
    loss = [line["loss"] for line in read_metrics(folder / "metrics.jsonl") if line["phase"] == "outer"]
    write_text_atomic(path, json.dumps({"seed": seed, "points": points, "loss": loss}) + "\n")
    return path


def _result(seed: int, work: Path) -> Path:
    return work / f"{NAME}-{seed}" / "curve.json"


def write_curve(seeds: Sequence[int], work: Path, out: Path) -> bool:
    """Writes the curve of the measured seeds as `chain-cross-entropy.json` and `.png`; False if there are none."""
    files = [path for path in (_result(seed, work) for seed in seeds) if path.is_file()]
    raw: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    if not raw:
        return False
    rows = []
    for index, step in enumerate(STEPS):
        correct = [[mark == "1" for mark in record["points"][index]["correct"]] for record in raw]
        mean, low, high = over_seeds(correct)
        narrow = wilson(round(mean * len(correct[0])), len(correct[0]))
        rows.append(
            {
                "steps": step,
                "accuracy": round(mean, 4),
                "low": round(min(low, narrow[0]), 4),
                "high": round(max(high, narrow[1]), 4),
                "accuracy_by_seed": [round(float(np.mean(marks)), 4) for marks in correct],
            }
        )
    record = {
        "experiment": NAME,
        "system": f"systems/{SYSTEM}",
        "command": f"python -m recursivemas.training.evidence --only {NAME}",
        "start": "ridge links, neither alignment nor refinement",
        "learning_rate": LEARNING_RATE,
        "seeds": [each["seed"] for each in raw],
        "questions_per_seed": len(raw[0]["points"][0]["correct"]),
        "versions": versions(),
        "interval": "95%, bootstrap over seeds and questions, at least as wide as Wilson's over one seed's questions",
        "rows": rows,
    }
    write_text_atomic(out / f"{NAME}.json", json.dumps(record, indent=1) + "\n")
    _draw(rows, [each["loss"] for each in raw], out / f"{NAME}.png")
    return True


def _draw(rows: Sequence[dict[str, Any]], losses: Sequence[Sequence[float]], path: Path) -> None:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    y = [row["accuracy"] for row in rows]
    error = [[row["accuracy"] - row["low"] for row in rows], [row["high"] - row["accuracy"] for row in rows]]
    left.errorbar([row["steps"] for row in rows], y, yerr=error, marker="o", capsize=3, label="mean of seeds")
    for index in range(len(losses)):
        by_seed = [row["accuracy_by_seed"][index] for row in rows]
        left.plot([row["steps"] for row in rows], by_seed, alpha=0.4, linewidth=1, label=f"run {index + 1}")
        right.plot(smooth(losses[index]), alpha=0.8, label=f"run {index + 1}")
    left.set(title="chain, three rounds: accuracy", xlabel="steps of cross-entropy from ridge links", ylim=(0.5, 1.0))
    right.set(title="cross-entropy of the answer", xlabel="step", yscale="log")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    save_figure(figure, path)
