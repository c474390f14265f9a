"""`rmas run`: one question through the PyTorch reference."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from recursivemas.cli.options import (
    DeviceOption,
    LinksOption,
    PrecisionOption,
    SystemArgument,
    ThreadsOption,
    WeightsOption,
    use_threads,
)
from recursivemas.system.files import write_text_atomic
from recursivemas.system.links_file import load_links
from recursivemas.system.names import Mode
from recursivemas.system.system import load_system


def run_command(
    system: SystemArgument,
    question: Annotated[str, typer.Option(help="The question.")],
    links: LinksOption = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Default: the system's.")] = None,
    latent_steps: Annotated[int | None, typer.Option(min=1, help="Latent steps a turn. Default: the system's.")] = None,
    mode: Annotated[Mode, typer.Option(help="How the agents answer.")] = "latent",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    weights: WeightsOption = "checkpoint",
    threads: ThreadsOption = None,
    trace: Annotated[Path | None, typer.Option(help="Write all thoughts and hand-offs to this JSON file.")] = None,
) -> None:
    """Answers a question and shows each turn, the number of decoded tokens and the time."""
    from recursivemas.training.loading import load_recursion
    from recursivemas.training.trace import trace_record, turn_rows

    use_threads(threads)
    loaded = load_links(links) if links is not None else None
    recursion = load_recursion(load_system(system), loaded, device, precision, weights)
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
