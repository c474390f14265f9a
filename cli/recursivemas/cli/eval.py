"""`rmas eval`: accuracy, decoded tokens and time per mode and round."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

import typer
from rich.table import Table

import recursivemas
from recursivemas.api.evaluation import Control, read_questions, threshold_of
from recursivemas.api.extras import require
from recursivemas.cli.console import plain_console
from recursivemas.cli.options import (
    MODE_NAMES,
    DeviceOption,
    LinksOption,
    PrecisionOption,
    PythonOption,
    SearchOption,
    SystemArgument,
    ThreadsOption,
    WeightsOption,
    early_stopping,
    search_words,
    several_numbers,
    use_threads,
)
from recursivemas.cli.phases import shown_phases
from recursivemas.cli.released import chosen_set, chosen_settings, eval_released
from recursivemas.system.errors import InputError
from recursivemas.system.names import MAX_LATENT_STEPS, MAX_ROUNDS, MODES
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.released_settings import SET_NAMES, STYLES
from recursivemas.system.system import load_system

if TYPE_CHECKING:
    from recursivemas.training.evaluation.evaluate import Cell

Name = TypeVar("Name", bound=str)


def eval_command(
    system: SystemArgument,
    links: LinksOption = None,
    data: Annotated[
        str | None, typer.Option(help="JSONL file or Hub data set owner/name:split. Default: the system's task.")
    ] = None,
    rounds: Annotated[str | None, typer.Option(help="One or several, such as 1,2,3. Default: the system's.")] = None,
    latent_steps: Annotated[
        str | None, typer.Option(help="Latent steps a turn: one or several, such as 1,2,4. Default: the system's.")
    ] = None,
    mode: Annotated[str, typer.Option(help=f"One or several of {MODE_NAMES}, separated by commas.")] = "latent",
    control: Annotated[
        str, typer.Option(help="One or several of none, zeros, other_question, separated by commas.")
    ] = "none",
    stopping: Annotated[
        str,
        typer.Option(
            "--early-stopping",
            help="Whether a question may end before its last round, in latent mode: off, on (at the system's "
            "threshold), or a threshold such as 0.99; one or several, such as off,on.",
        ),
    ] = "off",
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Temperature of decoding. Default: the system's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of sampling. Default: 0; the profile's: 42.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only this many questions, from the first.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Questions asked at once. Default: 128; the profile has its own.")
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    weights: WeightsOption = None,
    threads: ThreadsOption = None,
    python: PythonOption = False,
    search: SearchOption = None,
    wrong: Annotated[int, typer.Option(min=0, help="Show up to this many wrong answers of each mode.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for eval.json and eval.png.")] = None,
    profile: Annotated[
        Literal["released"] | None,
        typer.Option(
            help="released: a data set of the paper, with the settings and both scores of its authors' runner."
        ),
    ] = None,
    set_name: Annotated[str | None, typer.Option("--set", help=f"With --profile: {', '.join(SET_NAMES)}.")] = None,
    style: Annotated[
        str | None,
        typer.Option(help=f"With --profile: whose settings, of {', '.join(STYLES)}. Default: by the system's name."),
    ] = None,
    rollouts: Annotated[
        int | None, typer.Option(min=1, help="With --profile: k of pass@k, the samples of each question.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="With --profile: the longest answer.")] = None,
    run_code: Annotated[
        bool, typer.Option("--run-code", help="With --profile: run the programs of answers, in a limited process.")
    ] = False,
) -> None:
    """Asks every question in every chosen mode and round; the intervals are Wilson's at 95%.

    `accelerate launch --no-python rmas eval …` shares the questions among processes, with the same result.
    """
    use_threads(threads)
    declared = load_system(system)
    if profile is not None:
        given = {
            "latent_steps": _one(latent_steps, "--latent-steps", MAX_LATENT_STEPS),
            "rounds": _one(rounds, "--rounds", MAX_ROUNDS),
            "temperature": temperature,
            "seed": seed,
            "batch_size": batch_size,
            "rollouts": rollouts,
            "max_new_tokens": max_new_tokens,
        }
        modes = _names(mode, {each.name: each for each in MODES}, "--mode")
        if len(modes) > 1 or control != "none" or wrong or stopping != "off" or out is None:
            raise InputError(
                "--profile released needs --out FOLDER, where a later run goes on, and takes one --mode and neither "
                "--control nor --wrong nor --early-stopping"
            )
        from recursivemas.training.tools import ToolAccess

        access = ToolAccess(python, search_words(search))
        name = chosen_set(set_name, run_code)
        settings = chosen_settings(name, style, declared, given)
        eval_released(declared, links, name, settings, modes[0], data, limit, device, precision, weights, access, out)
        return
    if set_name or style or rollouts or max_new_tokens or run_code:
        raise InputError("--set, --style, --rollouts, --max-new-tokens and --run-code need --profile released")
    source = data or (declared.task.data if declared.task else None)
    if source is None:
        raise InputError(f"{system}: names no questions; set task.data or pass --data")
    modes = _names(mode, {each.name: each for each in MODES}, "--mode")
    controls = _names(control, get_args(Control), "--control")
    chosen_rounds = several_numbers(rounds, declared.rounds, "--rounds", MAX_ROUNDS)
    chosen_steps = several_numbers(latent_steps, declared.default_latent_steps, "--latent-steps", MAX_LATENT_STEPS)
    chosen_stops = [early_stopping(each) for each in stopping.split(",")]
    for each in chosen_stops:
        threshold_of(declared, each)  # before agents are loaded
    require("torch", "transformers", "accelerate")
    from recursivemas.training.loading import chosen_device
    from recursivemas.training.processes import processes

    questions = read_questions(source)  # a broken file is found before agents are loaded
    main = processes(chosen_device(device)).is_main_process
    loaded = recursivemas.load(
        system, links, device=device, precision=precision, weights=weights, python=python, search=search_words(search)
    )
    with shown_phases() as start:
        found = loaded.evaluate(
            questions,
            mode=modes,
            rounds=chosen_rounds,
            latent_steps=chosen_steps,
            control=controls,
            temperature=temperature,
            seed=seed or 0,
            limit=limit,
            batch_size=batch_size or 128,
            progress=start if main else None,
            early_stopping=chosen_stops,
        )
    if not main:
        return
    plain_console().print(_table(found.cells))
    if any(cell.threshold is not None for cell in found.cells):
        plain_console().print(_early_table(found.cells))
    if wrong:
        plain_console().print(_wrong_table(found.cells, found.records, wrong))
    if out is not None:
        found.save(out)
        typer.echo(f"{out / 'eval.json'}, {out / 'eval.png'}")


def _table(cells: "Sequence[Cell]") -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("mode", "control", "R", "M", "accuracy", "95%", "decoded", "positions", "kept", "ms", "n"):
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
            f"{cell.kept_positions:.0f}",
            f"{cell.time_ms:.1f}",
            str(cell.questions),
        )
    return table


def _early_table(cells: "Sequence[Cell]") -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("early stopping", "R", "M", "threshold", "accuracy", "mean R", "positions", "saved"):
        table.add_column(heading, no_wrap=True)
    for cell in cells:
        if cell.threshold is not None:
            table.add_row(
                "",
                str(cell.rounds),
                str(cell.latent_steps),
                f"{cell.threshold:g}",
                f"{cell.accuracy:.3f}",
                f"{cell.mean_rounds:.2f}",
                f"{cell.forward_positions:.0f}",
                f"{cell.saved_positions:.1f}",
            )
    return table


def _wrong_table(cells: "Sequence[Cell]", records: Sequence[QuestionRecord], most: int) -> Table:
    table = Table("mode", "control", "R", "M", "question", "right answer", "answer", show_lines=True)
    for cell in cells:
        missed = [each for each in cell.answered(records) if not each["correct"]]
        for each in missed[:most]:
            texts = (str(each[name]) for name in ("question", "right_answer", "answer"))
            table.add_row(cell.mode, cell.control, str(cell.rounds), str(cell.latent_steps), *texts)
    return table


def _one(text: str | None, option: str, most: int) -> int | None:
    if text is None:
        return None
    numbers = several_numbers(text, 1, option, most)
    if len(numbers) > 1:
        raise InputError(f"{option} {text!r}: --profile takes one number")
    return numbers[0]


def _names(text: str, known: Collection[Name], option: str) -> list[Name]:
    wanted = text.split(",")
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(f"{option} {unknown[0]!r} is unknown; expected one or several of {', '.join(known)}")
    return sorted((name for name in known if name in wanted), key=wanted.index)
