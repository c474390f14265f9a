"""`rmas`: puts the commands together and turns a user's mistake into one line.

A command's module is imported when the command is asked for, so that `rmas serve` needs neither torch nor TVM.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from recursivemas.system.errors import InputError

# name -> (module, attribute, help shown in the list, without importing the module)
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "architectures": ("architectures", "architectures_command", "Every architecture, and whether it builds."),
    "doctor": ("doctor", "doctor_command", "What is installed, what is missing, and the command that mends it."),
    "train": ("train", "train_command", "Train a system's RecursiveLinks: inner loop, then outer loop."),
    "compile": ("compile", "compile_command", "One checkpoint to one browser-ready agent folder."),
    "build": ("build", "build_command", "A whole system to dist/<system>/."),
    "run": ("run", "run_command", "Ask a system one question with the PyTorch reference."),
    "eval": ("eval", "eval_command", "Accuracy, decoded tokens and time per mode and round."),
    "links": ("links", "links_app", "Check link files and convert them to and from other formats."),
    "site": ("site", "site_command", "The playground and built systems as one folder for any static host."),
    "plan": ("plan", "plan_command", "What a release has to build, for the workflow's matrix."),
    "publish": ("publish", "publish_command", "A built system to the Hugging Face Hub or a GitHub Release."),
    "serve": ("serve", "serve_command", "The playground and built systems on localhost."),
}


class _LazyGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        """Command names in the order of the work."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Imports a command's module when it is asked for."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        target = getattr(importlib.import_module(f"recursivemas.cli.{module}"), attribute)
        if isinstance(target, typer.Typer):
            command = typer.main.get_command(target)
            command.name = cmd_name
            return command
        return _as_command(cmd_name, target)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Lists commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


def _as_command(name: str, function: Callable[..., Any]) -> Any:
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name)(function)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=_LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="RecursiveMAS for the browser: train links, compile agents, build and serve systems.",
)


@app.callback()
def _root() -> None:
    pass


def main() -> None:
    """Runs the command line; an `InputError` is one line on standard error and status 1."""
    try:
        app()
    except InputError as error:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"rmas: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
