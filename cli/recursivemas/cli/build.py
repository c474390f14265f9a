"""`rmas build`: a whole system to `dist/<system>/`."""

from pathlib import Path
from typing import Annotated

import typer

import recursivemas
from recursivemas.cli.console import plain_console
from recursivemas.cli.options import (
    QUANTIZATION_NAMES,
    BackendOption,
    ContextWindowOption,
    PrefillChunkOption,
    SmallLibrariesOption,
    SubgroupSizeOption,
    SystemArgument,
)


def build_command(
    system: SystemArgument,
    links: Annotated[Path, typer.Option(help="The system's recursivelink.json.")],
    out: Annotated[
        Path, typer.Option(help="dist/<system>; an earlier build there is replaced when this one succeeds.")
    ],
    quantization: Annotated[
        str | None,
        typer.Option(help=f"{QUANTIZATION_NAMES}. Default: the one that the system names, with its fallbacks."),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Another quantization to include, for GPUs that can run it. May be repeated."),
    ] = None,
    context_window: ContextWindowOption = None,
    prefill_chunk: PrefillChunkOption = None,
    subgroup_size: SubgroupSizeOption = None,
    small_libraries: SmallLibrariesOption = False,
    backend: BackendOption = "auto",
    agents: Annotated[
        Path | None,
        typer.Option(help="Take the agents from this folder, which 'rmas compile' made: one folder per agent id."),
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(help="A report of 'rmas eval', or a folder of them, to keep in the manifest. May be repeated."),
    ] = None,
    if_changed: Annotated[bool, typer.Option("--if-changed", help="Do nothing if the build is current.")] = False,
) -> None:
    """Compiles every agent and writes the system's folder: agents, links and a manifest of sha256 sums."""
    console = plain_console(stderr=True)
    manifest = recursivemas.build(
        system,
        links,
        out,
        quantization=quantization,
        variants=variant or (),
        backend=backend,
        context_window=context_window,
        prefill_chunk=prefill_chunk,
        subgroup_size=subgroup_size,
        small_libraries=small_libraries,
        agents=agents,
        measured=measured or (),
        if_changed=if_changed,
        say=console.print,
    )
    size = sum(file.size_bytes for file in manifest.files)
    console.print(f"{out}: {len(manifest.agents)} agents, {len(manifest.files)} files, {size / 1e6:.1f} MB")
