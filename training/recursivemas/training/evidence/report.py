"""Raw results of several seeds as one table, with intervals, and as pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recursivemas.system.files import write_text_atomic
from recursivemas.training.evaluation.report import versions
from recursivemas.training.evaluation.statistics import over_seeds, wilson
from recursivemas.training.figures import save_figure, smooth

SWEEP = "latent-step sweep"
_GRADIENT = "handoff_gradient/"
MEANS = ("decoded_tokens", "forward_positions", "time_ms")


def aggregate(raw: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each combination, with the mean over seeds, its 95% interval and each seed's accuracy."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in raw:
        for cell in record["cells"]:
            key = (cell["row"], cell["mode"], cell["rounds"], cell["latent_steps"], cell["control"])
            groups.setdefault(key, []).append(cell)
    rows = []
    for (row, mode, rounds, steps, control), cells in groups.items():
        correct = [[mark == "1" for mark in cell["correct"]] for cell in cells]
        mean, low, high = over_seeds(correct)
        # Seeds share their questions, and a bootstrap of answers that are all right gives an empty interval.
        narrow = wilson(round(mean * len(correct[0])), len(correct[0]))
        low, high = min(low, narrow[0]), max(high, narrow[1])
        rows.append(
            {
                "row": row,
                "mode": mode,
                "rounds": rounds,
                "latent_steps": steps,
                "control": control,
                "seeds": len(cells),
                "measured_seeds": [cell["seed"] for cell in cells],
                "questions_per_seed": len(correct[0]),
                "accuracy": round(mean, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "accuracy_by_seed": [round(float(np.mean(marks)), 4) for marks in correct],
                **{name: round(float(np.mean([cell[name] for cell in cells])), 3) for name in MEANS},
            }
        )
    return rows


def write_evidence(name: str, system: str, raw: Sequence[dict[str, Any]], out: Path) -> None:
    """Writes `<name>.json` and `<name>.png`, and the stability plot if there was an outer loop."""
    rows = aggregate(raw)
    seeds = [record["seed"] for record in raw]
    record = {
        "experiment": name,
        "system": f"systems/{system}",
        "command": f"python -m recursivemas.training.evidence --only {name} --seeds {' '.join(map(str, seeds))}",
        "seeds": seeds,
        "versions": versions(),
        "cpu_seconds_by_seed": [each["cpu_seconds"] for each in raw],
        "interval": "95%, bootstrap over seeds and questions, at least as wide as Wilson's over one seed's questions",
        "rows": rows,
    }
    write_text_atomic(out / f"{name}.json", json.dumps(record, indent=1) + "\n")
    draw_rows(name, rows, out / f"{name}.png")
    logs = {each["seed"]: each["outer_log"] for each in raw if each["outer_log"]}
    if logs:
        draw_stability(name, logs, out / f"{name}-stability.png")


def draw_rows(name: str, rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws accuracy over rounds on the left, and every row as a bar on the right."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["row"] != SWEEP:
            lines.setdefault(row["row"], []).append(row)
    figure = Figure(figsize=(13, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    for label, points in lines.items():
        if len(points) > 1:
            ordered = sorted(points, key=lambda row: row["rounds"])
            x, y, error = _with_errors(ordered)
            left.errorbar(x, y, yerr=error, marker="o", capsize=3, label=label + seeds_of_line(ordered, rows))
    left.set(title=f"{name}: accuracy over rounds", xlabel="rounds", ylabel="accuracy", ylim=(0, 1.03))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=7)
    bars = [max(points, key=lambda row: min(row["rounds"], 3)) for points in lines.values()]
    bars += [row for row in rows if row["row"] == SWEEP]
    steps = [f", M={row['latent_steps']}" if row["row"] == SWEEP else "" for row in bars]
    names = [
        f"{row['row']}, r={row['rounds']}{each}{seeds_of_line([row], rows)}"
        for row, each in zip(bars, steps, strict=True)
    ]
    _, y, error = _with_errors(bars)
    right.barh(names, y, xerr=error, capsize=2, color="#4c78a8")
    for index, row in enumerate(bars):
        tokens = f"{row['decoded_tokens']:.0f} token{'' if round(row['decoded_tokens']) == 1 else 's'} decoded"
        right.text(row["high"] + 0.015, index, f"{row['accuracy']:.3f}, {tokens}", va="center", fontsize=7)
    right.invert_yaxis()
    right.set(title="every row, last round", xlim=(0, 1.45), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    right.tick_params(axis="y", labelsize=7)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    save_figure(figure, path)


def seeds_of_line(points: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> str:
    """What a label adds for points that are not of all seeds: their seeds, and the round if other points are of all."""
    every = max(row["seeds"] for row in rows)
    fewer = [point for point in points if point["seeds"] < every]
    if not fewer:
        return ""
    seeds = sorted({seed for point in fewer for seed in point["measured_seeds"]})
    named = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f", {named}" if len(fewer) == len(points) else f" (r={fewer[0]['rounds']}: {named})"


def gradient_norms(logs: Mapping[int, Sequence[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Median over seeds and steps of the gradient norm that arrives at a hand-off, by edge and round."""
    norms: dict[str, dict[str, float]] = {}
    for key in handoff_keys(logs):
        edge, _, round_number = key.removeprefix(_GRADIENT).rpartition("/")
        values = [line[key] for log in logs.values() for line in log if key in line]
        norms.setdefault(edge, {})[round_number] = round(float(np.median(values)), 4)
    return norms


def handoff_keys(logs: Mapping[int, Sequence[dict[str, Any]]]) -> list[str]:
    """Keys of the gradient norms in logs, one for each edge and round."""
    return sorted({key for log in logs.values() for line in log for key in line if key.startswith(_GRADIENT)})


def _with_errors(rows: Sequence[dict[str, Any]]) -> tuple[list[int], list[float], list[list[float]]]:
    y = [row["accuracy"] for row in rows]
    low = [max(0.0, row["accuracy"] - row["low"]) for row in rows]
    high = [max(0.0, row["high"] - row["accuracy"]) for row in rows]
    return [row["rounds"] for row in rows], y, [low, high]


def draw_stability(name: str, logs: Mapping[int, Sequence[dict[str, Any]]], path: Path) -> None:
    """Draws the gradient norm that arrives at each hand-off, by round, before clipping; text hands over no gradient.

    Args:
        name: Of the experiment.
        logs: Of the outer loop, by seed.
        path: The picture.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    axis = figure.subplots()
    axis.set_prop_cycle(cycler(linestyle=("-", "--")) * rcParams["axes.prop_cycle"])  # ten colours, then dashed
    length = min(map(len, logs.values()))
    for key in handoff_keys(logs):
        norms = np.median([[line.get(key, np.nan) for line in log[:length]] for log in logs.values()], axis=0)
        axis.plot(range(1, length + 1), smooth(list(norms), 9), label=key.removeprefix(_GRADIENT))
    axis.axhline(0, color="black", linestyle=":", label="text boundary: 0, a sampled token has no gradient")
    axis.set_yscale("symlog", linthresh=1e-4)
    axis.set_ylim(bottom=-5e-5)
    seeds = ", ".join(map(str, logs))
    of = f"median of seeds {seeds}" if len(logs) > 1 else f"seed {seeds}"
    axis.set(title=f"{name}: gradient norm per hand-off and round ({of})", xlabel="outer step")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    save_figure(figure, path)
