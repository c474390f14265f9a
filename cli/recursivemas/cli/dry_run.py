"""`rmas train --dry-run`: what a step of the outer loop needs, and settings for GPUs."""

import typer
from rich.table import Table

from recursivemas.api.extras import require
from recursivemas.cli.console import plain_console
from recursivemas.system.system import System


def show_estimate(
    declared: System, rounds: int | None, gpu: str | None, question_tokens: int, answer_tokens: int
) -> None:
    """Prints what a step of the outer loop needs, and settings for GPUs."""
    require("torch", "transformers", "accelerate")
    from recursivemas.training.train.estimate import GIB, GPUS, estimate, find_gpu, propose, read_config

    gpus = GPUS if gpu is None else (find_gpu(gpu),)
    asked = declared.model_copy(update={"rounds": rounds or declared.rounds})
    configs = {agent.id: read_config(agent) for agent in asked.agents}
    found = estimate(asked, configs, question_tokens, answer_tokens)
    outer = asked.training.outer
    questions = outer.batch_size * outer.gradient_accumulation
    turns = ", ".join(f"{key} {size / 1e6:.0f}" for key, size in found.turn_bytes.items())
    typer.echo(
        f"{asked.name}: {questions} questions a step, {asked.rounds} rounds, about {question_tokens} tokens a question "
        f"and {answer_tokens} an answer, agents in bfloat16\n"
        f"agents {found.weights_bytes / 1e9:.2f} GB, links with optimiser {found.links_bytes / 1e9:.2f} GB\n"
        f"for one question in MB: a turn of {turns}; prefixes {found.prefix_bytes / 1e6:.0f}; "
        f"answer {found.answer_bytes / 1e6:.0f}"
    )
    table = Table(box=None, pad_edge=False)
    for heading in (
        "GPU",
        "batch_size",
        "gradient_accumulation",
        "gradient_checkpointing",
        "GiB",
        "s a step, at least",
    ):
        table.add_column(heading, no_wrap=True)
    for each in gpus:
        chosen = propose(found, each, questions)
        size = f"{chosen.memory_bytes / GIB:.1f}"
        if chosen.batch_size == 0:
            table.add_row(each.name, "does not fit", "", "", size, "")
        else:
            settings = (str(chosen.batch_size), str(chosen.gradient_accumulation), str(chosen.checkpointing).lower())
            table.add_row(each.name, *settings, size, f"{chosen.seconds:.2g}")
    plain_console().print(table)
