"""`rmas train`: trains a system's links, inner loop first, then outer loop."""

import functools
from pathlib import Path
from typing import Annotated

import typer

import recursivemas
from recursivemas.cli.dry_run import show_estimate
from recursivemas.cli.options import DeviceOption, SystemArgument, ThreadsOption, use_threads
from recursivemas.cli.phases import shown_phases
from recursivemas.system.errors import InputError
from recursivemas.system.names import MAX_ROUNDS, Dtype
from recursivemas.system.system import load_system


def train_command(
    system: SystemArgument,
    out: Annotated[
        Path | None, typer.Option(help="Folder for recursivelink.json, metrics.jsonl and curves.png.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="JSONL file, Hub data set or generator:<task>. Default: the task's.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue from the last checkpoint in --out.")] = False,
    seed: Annotated[int | None, typer.Option(help="Default: the system's training seed.")] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Outer-loop steps. Default: the system's.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, max=MAX_ROUNDS, help="Default: the system's.")] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 50,
    keep_at: Annotated[
        str | None, typer.Option(help="Outer-loop steps after which to keep the links, such as 0,60,100.")
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Dtype of the numbers in recursivelink.json.")] = "float16",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing: estimate a step's memory and time, and propose settings.")
    ] = False,
    gpu: Annotated[
        str | None, typer.Option(help="With --dry-run: a GPU, such as A100-80GB. Default: all known.")
    ] = None,
    question_tokens: Annotated[
        int, typer.Option(min=1, help="With --dry-run: tokens of a question, or of another column.")
    ] = 300,
    answer_tokens: Annotated[int, typer.Option(min=1, help="With --dry-run: tokens of an answer.")] = 32,
) -> None:
    """Trains a system's links; the agents stay frozen.

    First the inner links learn alone. The outer links then start from a regression, are aligned with their receivers'
    embeddings, and learn through all rounds. `accelerate launch --no-python rmas train …` spreads the work over GPUs.
    """
    use_threads(threads)
    if dry_run:
        show_estimate(load_system(system), rounds, gpu, question_tokens, answer_tokens)
        return
    if gpu is not None:
        raise InputError("--gpu needs --dry-run; training itself takes --device")
    if out is None:
        raise InputError("--out: expected a folder for the links; --dry-run alone works without")
    kept, say = _steps(keep_at), functools.partial(typer.echo, err=True)
    with shown_phases() as start:
        recursivemas.train(
            system,
            out,
            data=data,
            resume=resume,
            seed=seed,
            steps=steps,
            rounds=rounds,
            checkpoint_every=checkpoint_every,
            keep_at=kept,
            dtype=dtype,
            device=device,
            progress=start,
            say=say,
        )
    import accelerate

    if accelerate.PartialState().is_main_process:
        typer.echo(f"{out / 'recursivelink.json'}, {out / 'metrics.jsonl'}, {out / 'curves.png'}")


def _steps(text: str | None) -> list[int]:
    parts = text.split(",") if text else []
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"--keep-at {text!r}: expected numbers of steps separated by commas, such as 0,60,100")
    return [int(part) for part in parts]
