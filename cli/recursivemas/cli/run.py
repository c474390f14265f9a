"""`rmas run`: one question through the PyTorch reference."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import recursivemas
from recursivemas.api.answer import Turn
from recursivemas.api.evaluation import threshold_of
from recursivemas.cli.console import plain_console
from recursivemas.cli.options import (
    DeviceOption,
    EarlyStoppingOption,
    LinksOption,
    PrecisionOption,
    PythonOption,
    SearchOption,
    SystemArgument,
    ThreadsOption,
    WeightsOption,
    early_stopping,
    search_words,
    use_threads,
)
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.names import MAX_LATENT_STEPS, MAX_ROUNDS, Mode
from recursivemas.system.questions import QuestionRecord, check_fields
from recursivemas.system.system import load_system


def run_command(
    system: SystemArgument,
    question: Annotated[str, typer.Option(help="The question.")],
    links: LinksOption = None,
    field: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="Another column of the question. Can be repeated.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, max=MAX_ROUNDS, help="Default: the system's.")] = None,
    latent_steps: Annotated[
        int | None, typer.Option(min=1, max=MAX_LATENT_STEPS, help="Latent steps a turn. Default: the system's.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How the agents answer.")] = "latent",
    stopping: EarlyStoppingOption = "off",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    weights: WeightsOption = None,
    threads: ThreadsOption = None,
    python: PythonOption = False,
    search: SearchOption = None,
    trace: Annotated[Path | None, typer.Option(help="Write all thoughts and hand-offs to this JSON file.")] = None,
) -> None:
    """Answers a question and shows each turn, the number of decoded tokens and the time."""
    use_threads(threads)
    columns = _fields(field or [])
    stops = early_stopping(stopping)
    row = {**columns, "question": question, "answer": ""}
    declared = load_system(system)
    check_fields(declared, [QuestionRecord.of_row(row, "--question and --field")])  # before weights load
    threshold_of(declared, stops)
    loaded = recursivemas.load(
        system, links, device=device, precision=precision, weights=weights, python=python, search=search_words(search)
    )
    answer = loaded.ask(
        question, mode=mode, rounds=rounds, latent_steps=latent_steps, fields=columns, early_stopping=stops
    )
    table = Table("round", "agent", "prompt tokens", "thoughts", "hands over", "ms")
    for turn in answer.trace.turns:
        table.add_row(*_cells(turn))
    console = plain_console()
    console.print(table)
    console.print(f"answer: {answer.answer}")
    if answer.early_stop is not None:
        console.print(str(answer.early_stop))
    console.print(
        f"{answer.decoded_tokens} decoded tokens, {answer.forward_positions} positions, {answer.duration_ms:.0f} ms"
    )
    if trace is not None:
        write_text_atomic(trace, json.dumps(answer.record()) + "\n")


def _cells(turn: Turn) -> tuple[str, ...]:
    """A row of the table: round, agent, prompt tokens, thoughts, hand-offs, milliseconds."""
    said = turn.text or (f"({' '.join(turn.words)})" if any(turn.words) else "")
    handed = ", ".join(f"{edge} {value.shape}" for edge, value in turn.hand_offs.items())
    return (str(turn.round), turn.agent, str(turn.prompt_tokens), said, handed, f"{turn.duration_ms:.1f}")


def _fields(given: list[str]) -> dict[str, str]:
    """Columns from NAME=TEXT."""
    fields = {}
    for each in given:
        name, sign, text = each.partition("=")
        if not sign or not name:
            raise InputError(f"--field {each!r}: expected NAME=TEXT")
        fields[name] = text
    return fields
