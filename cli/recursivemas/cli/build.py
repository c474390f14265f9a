"""`rmas build`: a whole system to `dist/<system>/`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.package import Supplied, build_system, is_current
from recursivemas.system.system import load_system


def build_command(
    system: Annotated[Path, typer.Argument(help="systems/<name>.yaml.")],
    links: Annotated[Path, typer.Option(help="The system's recursivelink.json.")],
    out: Annotated[
        Path, typer.Option(help="dist/<system>; an earlier build there is replaced when this one succeeds.")
    ],
    quantization: Annotated[str | None, typer.Option(help="Instead of the system's own.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="A quantization to carry too, for GPUs that can run it (q4f16_1); may be given again."),
    ] = None,
    context_window: Annotated[int | None, typer.Option(min=16, help="Most positions of a turn.")] = None,
    prefill_chunk: Annotated[int | None, typer.Option(min=16, help="Positions per prefill call.")] = None,
    backend: Annotated[str, typer.Option(help="auto, relax or mlc.")] = "auto",
    agents: Annotated[
        Path | None, typer.Option(help="Folder of agents by id that 'rmas compile' made; compiles none then.")
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(help="A report of 'rmas eval' to keep in the manifest, or a folder; may be given again."),
    ] = None,
    if_changed: Annotated[bool, typer.Option("--if-changed", help="Do nothing when the build is current.")] = False,
) -> None:
    """Compiles every agent and puts the system together with its links and a manifest of sha256 sums."""
    scheme = quantization or load_system(system).quantization
    options = CompileOptions(scheme, backend, context_window, prefill_chunk)
    supplied = Supplied(agents, tuple(measured or ()))
    console = Console(stderr=True, highlight=False)
    if if_changed and is_current(system, links, out, options, supplied, variant or ()):
        console.print(f"{out} is current")
        return
    manifest = build_system(system, links, out, options, lambda line: console.print(line), supplied, variant or ())
    size = sum(file.size_bytes for file in manifest.files)
    console.print(f"{out}: {len(manifest.agents)} agents, {len(manifest.files)} files, {size / 1e6:.1f} MB")
