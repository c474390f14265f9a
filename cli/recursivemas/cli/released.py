"""`rmas eval --profile released`: the paper's data sets with the settings and both scores of the authors' runner."""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from recursivemas.cli.console import plain_console
from recursivemas.cli.phases import shown_phases
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of, write_text_atomic
from recursivemas.system.links_file import load_links
from recursivemas.system.names import Device, Mode, Precision, Weights
from recursivemas.system.released_settings import (
    SET_NAMES,
    STYLES,
    ReleasedSettings,
    SetName,
    released_settings,
    style_of,
)
from recursivemas.system.system import System

if TYPE_CHECKING:
    from recursivemas.training.evaluation.released import Score
    from recursivemas.training.evaluation.results import Line
    from recursivemas.training.tools import ToolAccess

CODE_SETS = ("mbppplus", "livecodebench")


def chosen_set(name: str | None, run_code: bool) -> SetName:
    """The data set of `--set`.

    Raises:
        InputError: It is unknown, or its answers are programs and nobody asked to run them.
    """
    if name not in SET_NAMES:
        raise InputError(f"--set {name!r}: expected one of {', '.join(SET_NAMES)}")
    if name in CODE_SETS and not run_code:
        raise InputError(
            f"--set {name} runs the programs that the system writes, in a limited process; pass --run-code"
        )
    return name


def chosen_settings(name: SetName, style: str | None, system: System, given: dict[str, Any]) -> ReleasedSettings:
    """The settings of a data set, with what the command line replaces.

    Raises:
        InputError: The style is unknown.
    """
    from recursivemas.training.evaluation.released import changed

    known = [each for each in STYLES if each == style]
    if style is not None and not known:
        raise InputError(f"--style {style!r}: expected one of {', '.join(STYLES)}")
    return changed(released_settings(name, known[0] if known else style_of(system.name)), **given)


def eval_released(
    system: System,
    links: Path | None,
    name: SetName,
    settings: ReleasedSettings,
    mode: Mode,
    data: str | None,
    limit: int | None,
    device: Device,
    precision: Precision,
    weights: Weights | None,
    access: "ToolAccess",
    out: Path,
) -> None:
    """Asks a data set and shows both scores; the files of `out` are written as the questions are answered."""
    from recursivemas.training.evaluation.released import ask_set, mean, released_system, scores
    from recursivemas.training.evaluation.released_sets import SETS, load_set
    from recursivemas.training.evaluation.report import versions
    from recursivemas.training.evaluation.results import RESULTS_FILE, digest
    from recursivemas.training.loading import chosen_device, load_recursion
    from recursivemas.training.processes import processes

    state = processes(chosen_device(device))
    questions = load_set(name, data, settings.seed)
    depends_on: dict[str, Any] = {
        "data": SETS[name].source if data is None else Path(data).name,
        "data_sha256": digest([asdict(each.tests) if each.tests else each.record.model_dump() for each in questions]),
        "links_sha256": None if links is None else sha256_of(links),
        "precision": precision,
        "weights": system.reference_weights(weights),
        "tools": asdict(access),
    }
    file = None if links is None else load_links(links)
    recursion = load_recursion(released_system(system, settings), file, device, precision, weights, access)
    with shown_phases(bars=True) as start:
        label = name if state.num_processes == 1 else f"{name}, process {state.process_index + 1}"
        say = functools.partial(typer.echo, err=True)
        lines = ask_set(recursion, name, questions[:limit], settings, mode, out, depends_on, start(label), say)
    if not state.is_main_process:
        return
    found = scores(lines)
    report = {
        "system": system.name,
        "profile": "released",
        "set": name,
        "mode": mode,
        "settings": asdict(settings),
        **depends_on,
        "versions": versions(),
        "questions": len(lines),
        "scores": [asdict(score) for score in found],
        "decoded_tokens": mean(lines, "decoded_tokens"),
        "forward_positions": mean(lines, "forward_positions"),
        "answers": RESULTS_FILE,
    }
    write_text_atomic(out / "eval.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    plain_console().print(_table(name, settings, lines, found))
    typer.echo(f"{out / 'eval.json'}, {out / RESULTS_FILE}")


def _table(name: str, settings: ReleasedSettings, lines: "Sequence[Line]", found: "Sequence[Score]") -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("set", "rules", "R", "M", "pass@1", "95%", f"pass@{settings.rollouts}", "n"):
        table.add_column(heading, no_wrap=True)
    for score in found:
        table.add_row(
            name,
            score.rules,
            str(settings.rounds),
            str(settings.latent_steps),
            f"{score.accuracy:.3f}",
            f"{score.low:.3f}..{score.high:.3f}",
            f"{score.pass_at_k:.3f}",
            str(len(lines)),
        )
    return table
