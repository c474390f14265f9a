"""`rmas eval`: accuracy, decoded tokens and time per mode and round."""

import functools
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from recursivemas.cli.options import DeviceOption, PrecisionOption
from recursivemas.system.errors import InputError
from recursivemas.system.links_file import load_links
from recursivemas.system.system import load_system

Name = TypeVar("Name", bound=str)


def eval_command(
    system: Annotated[Path, typer.Argument(help="A systems/<name>.yaml.")],
    links: Annotated[Path | None, typer.Option(help="recursivelink.json; text and single mode need none.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="JSONL file or hub data set owner/name:split; the task's own by default."),
    ] = None,
    rounds: Annotated[str | None, typer.Option(help="For example 1,2,3; the system's by default.")] = None,
    latent_steps: Annotated[str | None, typer.Option(help="For example 1,2,4; the system's by default.")] = None,
    mode: Annotated[str, typer.Option(help="Of latent, text, single, loop; several with commas.")] = "latent",
    control: Annotated[str, typer.Option(help="Of none, zeros, other_question; several with commas.")] = "none",
    temperature: Annotated[float | None, typer.Option(min=0, help="Of decoding, in place of the system's.")] = None,
    seed: Annotated[int, typer.Option(help="Of sampling.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many questions.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for eval.json and eval.png.")] = None,
) -> None:
    """Asks every question in every mode and round; intervals are Wilson's at 95%."""
    from recursivemas.training.evaluation.evaluate import CONTROLS, Control, evaluate
    from recursivemas.training.evaluation.report import save_report
    from recursivemas.training.recursion import MODES
    from recursivemas.training.tasks.data import load_records
    from recursivemas.training.trace import load_recursion

    declared = load_system(system)
    source = data or (declared.task.data if declared.task else None)
    if source is None:
        raise InputError(f"{system}: names no questions; set task.data or pass --data")
    modes = _names(mode, MODES, "--mode")
    controls = _names(control, CONTROLS, "--control")
    no_control: list[Control] = ["none"]
    grid = [
        (each, r, m, c)
        for each in modes
        for r in (_numbers(rounds, declared.rounds, "--rounds") if each != "single" else [1])
        for m in _numbers(latent_steps, declared.latent_steps, "--latent-steps")
        for c in (controls if each == "latent" else no_control)
    ]
    records = load_records(source)[:limit]
    recursion = load_recursion(declared, load_links(links) if links is not None else None, device, precision)
    cells = []
    with Progress(disable=not Console().is_terminal, transient=True) as bar:
        for each, r, m, c in grid:
            task = bar.add_task(f"{each} r={r} m={m}", total=len(records))
            advance = functools.partial(_advance, bar, task)
            cells.append(evaluate(recursion, records, each, r, m, c, temperature, seed, batch_size, advance))
    table = Table(box=None, pad_edge=False)
    for heading in ("mode", "control", "R", "M", "accuracy", "95%", "decoded", "positions", "ms", "n"):
        table.add_column(heading, no_wrap=True)
    for cell in cells:
        table.add_row(
            cell.mode,
            cell.control,
            str(cell.rounds),
            str(cell.latent_steps),
            f"{cell.accuracy:.3f}",
            f"{cell.low:.3f}..{cell.high:.3f}",
            f"{cell.decoded_tokens:.1f}",
            f"{cell.forward_positions:.0f}",
            f"{cell.time_ms:.1f}",
            str(cell.questions),
        )
    Console().print(table)
    if out is not None:
        save_report(out, declared, links, source, seed, cells)
        typer.echo(f"{out / 'eval.json'}, {out / 'eval.png'}")


def _advance(bar: Progress, task: TaskID, done: int, _total: int) -> None:
    bar.update(task, completed=done)


def _numbers(text: str | None, default: int, option: str) -> list[int]:
    if text is None:
        return [default]
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text!r}: expected whole numbers with commas, such as 1,2,3") from None
    if min(numbers) < 1:
        raise InputError(f"{option} {text!r}: numbers start at 1")
    return numbers


def _names(text: str, known: Collection[Name], option: str) -> list[Name]:
    chosen = [name for name in known if name in text.split(",")]
    unknown = [name for name in text.split(",") if name not in known]
    if unknown:
        raise InputError(f"{option} {unknown[0]!r} is unknown; known are {', '.join(known)}")
    return chosen
