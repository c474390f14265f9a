"""Arguments and options that several commands take."""

import shlex
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from recursivemas.system.errors import InputError
from recursivemas.system.names import MODES, QUANTIZATIONS, Device, Precision, Weights

MODE_NAMES = ", ".join(each.name for each in MODES)
QUANTIZATION_NAMES = ", ".join(each.name for each in QUANTIZATIONS)

SystemArgument: TypeAlias = Annotated[Path, typer.Argument(help="The system's YAML file, systems/<name>.yaml.")]
LinksOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="The system's recursivelink.json. The modes text and single need none.")
]
DeviceOption: TypeAlias = Annotated[Device, typer.Option(help="Where to compute. Default: CUDA if available.")]
PrecisionOption: TypeAlias = Annotated[
    Precision,
    typer.Option(help="Dtype of the agents. Default: bfloat16 if CUDA supports it, otherwise float32."),
]
WeightsOption: TypeAlias = Annotated[
    Weights | None,
    typer.Option(
        help="Weights of the agents: the checkpoint's, or dequantised: those that a build stores. Default: those that "
        "the system's links train with (training.weights)."
    ),
]
ThreadsOption: TypeAlias = Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")]
PythonOption: TypeAlias = Annotated[bool, typer.Option("--python", help="Let the agent's tool 'python' run programs.")]
SearchOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Let the agent's tool 'search' run this; it reads a query from standard input and prints an answer.",
    ),
]
EarlyStoppingOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--early-stopping",
        metavar="WHEN",
        help="Whether a question may end before its last round, in latent mode: off, on (at the system's threshold), "
        "or a threshold such as 0.99.",
    ),
]
BackendOption: TypeAlias = Annotated[
    str, typer.Option(help="Where the model's definition comes from: relax (ours), mlc (MLC-LLM's) or auto.")
]
ContextWindowOption: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Most positions in a turn. Default: the checkpoint's, at most 4096.")
]
PrefillChunkOption: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Positions per prefill call. Default: at most 1024.")
]
SubgroupSizeOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Add a second library to each agent, for GPUs whose subgroups have at least so many threads, such as 32."
    ),
]
SmallLibrariesOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--small-libraries",
        help="Link libraries for their size: a tenth smaller once gzipped, for most of a minute of CPU each.",
    ),
]
Sha256Option: TypeAlias = Annotated[
    str | None, typer.Option(metavar="HEX", help="Sha256 of the package's wheel, or of the GGUF file.")
]
TokenizerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Folder or Hub id whose tokenizer and chat template count instead of the GGUF file's."),
]


def use_threads(threads: int | None) -> None:
    """Limits PyTorch to this many threads, if a number is given."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def search_words(command: str | None) -> tuple[str, ...] | None:
    """The words of --search.

    Raises:
        InputError: They are no command line.
    """
    try:
        return None if command is None else tuple(shlex.split(command))
    except ValueError as error:
        raise InputError(f"--search {command!r}: not a command line: {error}") from None


def several_numbers(text: str | None, default: int, option: str, most: int) -> list[int]:
    """The numbers of an option such as `1,2,3`.

    Args:
        text: What was given; None for the default.
        default: The number that counts then.
        option: The option, for the message.
        most: The largest number; the smallest is 1.

    Raises:
        InputError: It is no list of such numbers.
    """
    if text is None:
        return [default]
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text!r}: expected whole numbers separated by commas, such as 1,2,3") from None
    if not 1 <= min(numbers) <= max(numbers) <= most:
        raise InputError(f"{option} {text!r}: expected numbers of at least 1 and at most {most}")
    return numbers


def early_stopping(text: str) -> bool | float:
    """What --early-stopping says.

    Raises:
        InputError: It is neither on nor off nor a number; `load`ed systems check the number.
    """
    if text in ("on", "off"):
        return text == "on"
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--early-stopping {text!r}: expected on, off or a number above 0 and at most 1") from None
