"""Options that several commands take."""

from typing import Annotated, Literal, TypeAlias

import typer

DeviceOption: TypeAlias = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="CUDA where it is there, by default.")
]
PrecisionOption: TypeAlias = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Of the agents; bfloat16 on CUDA that has it, float32 elsewhere, by default."),
]
