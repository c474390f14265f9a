"""`rmas run`: one question through the PyTorch reference."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from recursivemas.cli.options import DeviceOption, PrecisionOption
from recursivemas.system.files import write_text_atomic
from recursivemas.system.links_file import load_links
from recursivemas.system.system import load_system


def run_command(
    system: Annotated[Path, typer.Argument(help="A systems/<name>.yaml.")],
    question: Annotated[str, typer.Option(help="The question.")],
    links: Annotated[Path | None, typer.Option(help="recursivelink.json; text and single mode need none.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1)] = None,
    latent_steps: Annotated[int | None, typer.Option(min=1)] = None,
    mode: Annotated[Literal["latent", "text", "single", "loop"], typer.Option()] = "latent",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    trace: Annotated[Path | None, typer.Option(help="Write every thought and hand-off as JSON.")] = None,
) -> None:
    """Answers a question and says what each turn did, how many tokens were decoded and how long it took."""
    from recursivemas.training.trace import load_recursion, trace_record, turn_rows

    loaded = load_links(links) if links is not None else None
    recursion = load_recursion(load_system(system), loaded, device, precision)
    answers = recursion.run([question], rounds, latent_steps, mode)
    table = Table("round", "agent", "prompt tokens", "thoughts", "hands over", "ms")
    for row in turn_rows(recursion, answers):
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(f"answer: {answers.texts[0]}", markup=False, highlight=False)
    console.print(
        f"{answers.decoded_tokens[0]} decoded tokens, {answers.forward_positions[0]} positions, "
        f"{answers.duration_ms:.0f} ms"
    )
    if trace is not None:
        write_text_atomic(trace, json.dumps(trace_record(recursion, question, answers)) + "\n")
