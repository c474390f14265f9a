"""`rmas run`: one question through the PyTorch reference."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from recursivemas.cli.console import plain_console
from recursivemas.cli.options import (
    DeviceOption,
    LinksOption,
    PrecisionOption,
    PythonOption,
    SearchOption,
    SystemArgument,
    ThreadsOption,
    WeightsOption,
    search_words,
    use_threads,
)
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.links_file import load_links
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
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    weights: WeightsOption = "checkpoint",
    threads: ThreadsOption = None,
    python: PythonOption = False,
    search: SearchOption = None,
    trace: Annotated[Path | None, typer.Option(help="Write all thoughts and hand-offs to this JSON file.")] = None,
) -> None:
    """Answers a question and shows each turn, the number of decoded tokens and the time."""
    from recursivemas.training.loading import load_recursion
    from recursivemas.training.tools import ToolAccess
    from recursivemas.training.trace import trace_record, turn_rows

    use_threads(threads)
    declared = load_system(system)
    row = {**_fields(field or []), "question": question, "answer": ""}
    asked = QuestionRecord.of_row(row, "--question and --field")
    check_fields(declared, [asked])
    loaded = load_links(links) if links is not None else None
    access = ToolAccess(python, search_words(search))
    recursion = load_recursion(declared, loaded, device, precision, weights, access)
    answers = recursion.run([asked], rounds, latent_steps, mode)
    table = Table("round", "agent", "prompt tokens", "thoughts", "hands over", "ms")
    for cells in turn_rows(recursion, answers):
        table.add_row(*cells)
    console = plain_console()
    console.print(table)
    console.print(f"answer: {answers.texts[0]}")
    console.print(
        f"{answers.decoded_tokens[0]} decoded tokens, {answers.forward_positions[0]} positions, "
        f"{answers.duration_ms:.0f} ms"
    )
    if trace is not None:
        write_text_atomic(trace, json.dumps(trace_record(recursion, question, answers)) + "\n")


def _fields(given: list[str]) -> dict[str, str]:
    """Columns from NAME=TEXT."""
    fields = {}
    for each in given:
        name, sign, text = each.partition("=")
        if not sign or not name:
            raise InputError(f"--field {each!r}: expected NAME=TEXT")
        fields[name] = text
    return fields
