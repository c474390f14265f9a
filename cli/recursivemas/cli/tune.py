"""`rmas tune`: chooses rounds and latent steps by measuring them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

import recursivemas
from recursivemas.api.evaluation import read_questions
from recursivemas.api.extras import require
from recursivemas.cli.console import plain_console
from recursivemas.cli.options import (
    DeviceOption,
    PrecisionOption,
    SystemArgument,
    ThreadsOption,
    WeightsOption,
    several_numbers,
    use_threads,
)
from recursivemas.cli.phases import shown_phases
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of, write_text_atomic
from recursivemas.system.names import MAX_LATENT_STEPS, MAX_ROUNDS
from recursivemas.system.system import load_system
from recursivemas.system.tuning import Tuned, write_tuned

if TYPE_CHECKING:
    from recursivemas.cli.tune_stopping import Stopping
    from recursivemas.training.evaluation.evaluate import Cell
    from recursivemas.training.evaluation.tune import Tuning

PROBED = 8
"""Questions that tell whether a combination fits the budget, before it is measured."""


def tune_command(
    system: SystemArgument,
    links: Annotated[Path, typer.Option(help="The system's recursivelink.json.")],
    data: Annotated[Path | None, typer.Option(help="JSONL file of questions. Default: the system's task.")] = None,
    rounds: Annotated[str, typer.Option(help="Rounds to try.")] = "1,2,3",
    latent_steps: Annotated[
        str | None, typer.Option(help="Latent steps to try. Default: half, once and twice the system's.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=1, help="Most positions that the agents may compute for a question, on average.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that may be given up for fewer positions.")
    ] = 0.01,
    limit: Annotated[int | None, typer.Option(min=2, help="Ask only this many questions, from the first.")] = None,
    early_stopping: Annotated[
        bool,
        typer.Option(
            help="Calibrate early stopping for the choice: from which similarity of two rounds a run may end."
        ),
    ] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions asked at once.")] = 128,
    out: Annotated[Path | None, typer.Option(help="Folder for tune.json and tune.png.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the choice and its evidence into SYSTEM.")] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    weights: WeightsOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Measures every combination of rounds and latent steps within a budget and chooses the cheapest good one.

    Then it calibrates early stopping for that choice. One half of the questions chooses; the accuracy that is reported
    and written comes from the other half.
    """
    require("torch", "matplotlib")
    from recursivemas.cli.tune_stopping import calibrate_choice
    from recursivemas.training.evaluation.tune import choose, draw_tuning

    use_threads(threads)
    declared = load_system(system)
    source = data or (Path(declared.task.data) if declared.task and declared.task.data else None)
    if source is None:
        raise InputError(f"{system}: names no questions; set task.data or pass --data")
    middle = declared.default_latent_steps
    tried = latent_steps or ",".join(map(str, sorted({max(1, middle // 2), middle, min(2 * middle, MAX_LATENT_STEPS)})))
    pairs = [
        (r, m)
        for r in several_numbers(rounds, 1, "--rounds", MAX_ROUNDS)
        for m in several_numbers(tried, 1, "--latent-steps", MAX_LATENT_STEPS)
    ]
    questions = read_questions(source)  # once, and before agents are loaded
    loaded = recursivemas.load(system, links, device=device, precision=precision, weights=weights)
    cells: list[Cell] = []
    skipped: list[Cell] = []
    with shown_phases() as start:
        for r, m in pairs:
            if budget is not None:
                (probe,) = loaded.evaluate(
                    questions, rounds=r, latent_steps=m, limit=PROBED, batch_size=batch_size
                ).cells
                # A few questions may be longer than most, so what is just above the budget is measured.
                if probe.forward_positions > 1.2 * budget:
                    skipped.append(probe)
                    continue
            found = loaded.evaluate(
                questions, rounds=r, latent_steps=m, limit=limit, batch_size=batch_size, progress=start
            )
            cells += found.cells
        tuning = choose(cells or skipped, budget, tolerance)
        stopping = None
        if early_stopping:
            stopping = calibrate_choice(loaded, questions, tuning, tolerance, limit, batch_size, start)
    console = plain_console()
    console.print(_table(tuning))
    for probe in skipped:
        console.print(f"r={probe.rounds} m={probe.latent_steps}: {probe.forward_positions:.0f} positions, over budget")
    evidence = _evidence(tuning, source, links, stopping)
    console.print(
        f"chosen: {evidence.rounds} rounds, {evidence.latent_steps} latent steps; accuracy {evidence.accuracy:.3f} "
        f"({evidence.low:.3f}..{evidence.high:.3f}) on {evidence.questions} other questions, "
        f"{evidence.forward_positions:.0f} positions a question"
    )
    if stopping is not None:
        for line in stopping.lines():
            console.print(line)
    if out is not None:
        record = {
            "system": declared.name,
            "tuned": evidence.model_dump(mode="json", exclude_none=True),
            "tolerance": tolerance,
            **({} if stopping is None else {"early_stopping": stopping.record()}),
            "cells": [cell.row() for cell in tuning.cells],
            "over_budget": [
                {name: getattr(probe, name) for name in ("rounds", "latent_steps", "forward_positions")}
                for probe in skipped
            ],
        }
        write_text_atomic(out / "tune.json", json.dumps(record, indent=1) + "\n")
        draw_tuning(tuning, declared.name, out / "tune.png")
        typer.echo(f"{out / 'tune.json'}, {out / 'tune.png'}")
    if write:
        write_tuned(system, evidence)
        written = f"rounds: {evidence.rounds}, latent_steps: {evidence.latent_steps}"
        stops = evidence.early_stopping
        typer.echo(f"{system}: {written}" + ("" if stops is None else f", early_stopping: {stops.threshold:g}"))


def _table(tuning: "Tuning") -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "R", "M", "accuracy", "95%", "positions", "n"):
        table.add_column(heading, no_wrap=True)
    for cell in sorted(tuning.cells, key=lambda each: each.forward_positions):
        over = tuning.budget is not None and cell.forward_positions > tuning.budget
        mark = "chosen" if cell is tuning.chosen else "over budget" if over else ""
        mark = mark or ("frontier" if cell in tuning.frontier else "")
        numbers = (str(cell.rounds), str(cell.latent_steps), f"{cell.accuracy:.3f}", f"{cell.low:.3f}..{cell.high:.3f}")
        table.add_row(mark, *numbers, f"{cell.forward_positions:.0f}", str(cell.questions))
    return table


def _evidence(tuning: "Tuning", data: Path, links: Path, stopping: "Stopping | None") -> Tuned:
    accuracy, low, high, questions = tuning.held_out
    chosen = tuning.chosen
    return Tuned(
        rounds=chosen.rounds,
        latent_steps=chosen.latent_steps,
        accuracy=accuracy,
        low=low,
        high=high,
        questions=questions,
        forward_positions=chosen.forward_positions,
        budget_positions=tuning.budget,
        data=data.name,
        data_sha256=sha256_of(data),
        links_sha256=sha256_of(links),
        early_stopping=None if stopping is None else stopping.evidence,
    )
