"""`rmas`: collects the commands and reports every error in one line.

A command is the `<name>_command` of the module of its name. The module is imported when the command is called, so that
`rmas serve` needs neither torch nor TVM.
"""

import importlib
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from recursivemas.cli.console import plain_console
from recursivemas.system.errors import InputError, is_of_disk
from recursivemas.system.files import keep_report

# What the list of commands says about each, in the order of the work.
_COMMANDS = {
    "architectures": "List every architecture and whether it builds.",
    "doctor": "Show what is installed, what is missing and how to install it.",
    "adapt": "Train a LoRA adapter for an agent from role texts.",
    "train": "Train a system's RecursiveLinks: inner loop, then outer loop.",
    "fetch": "Download models and adapters into the cache.",
    "compile": "Compile one checkpoint to a browser-ready agent folder.",
    "build": "Build a whole system into dist/<system>/.",
    "run": "Ask a system one question with the PyTorch reference.",
    "eval": "Measure accuracy, decoded tokens and time per mode and round.",
    "tune": "Choose rounds and latent steps by measuring them.",
    "import-release": "Write a system with the prompts and settings of a copy of the paper's code.",
    "links": "Check link files, convert them to and from other formats, and share them.",
    "site": "Put the playground and built systems into one folder for any static host.",
    "plan": "List what a release has to build, for the workflow's matrix.",
    "publish": "Publish a built system on the Hugging Face Hub or a GitHub Release.",
    "serve": "Serve the playground and built systems on localhost.",
    "cache": "List, check and clear what this program keeps to save work.",
}


class _LazyGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Imports the module of a command."""
        if cmd_name not in _COMMANDS:
            return None
        module = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"recursivemas.cli.{module}"), f"{module}_command")
        if not isinstance(command, typer.Typer):
            function, command = command, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            command.command(cmd_name)(function)
        found = typer.main.get_command(command)
        found.name = cmd_name
        return found

    def invoke(self, ctx: Any) -> Any:
        """Runs a command. click would take an EOFError, which a cut file causes, for an interrupt by the user."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise RuntimeError(f"a file ended too early: {error}") from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Lists the commands without importing their modules."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


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
    """Runs the command line. Every error becomes one line on standard error and exit status 1.

    For an error that is no `InputError`, the line names a file with the traceback.
    """
    try:
        app()
    except (SystemExit, KeyboardInterrupt):
        raise
    except InputError as error:
        _tell(str(error))
        sys.exit(1)
    except OSError as error:
        _tell(_summary(error) if is_of_disk(error) else _with_traceback(error))
        sys.exit(1)
    except BaseException as error:  # the last resort; a panic in Rust is no Exception
        _tell(_with_traceback(error))
        sys.exit(1)


def _tell(message: str) -> None:
    line = " ".join(f"rmas: {message}".split()).encode(errors="backslashreplace").decode()
    # What a file says must not control the terminal.
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
    plain_console(stderr=True, soft_wrap=True).print(shown)


def _with_traceback(error: BaseException) -> str:
    """What happened, and where its traceback is. Call it while the error is handled."""
    kept = keep_report("error", traceback.format_exc(), "the traceback")
    return f"{_summary(error)}; {kept}"


def _summary(error: BaseException) -> str:
    """What happened, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    first = next(iter(str(error).strip().splitlines()), "")
    return f"unexpected error: {type(error).__name__}{f': {first}' if first else ''}"


if __name__ == "__main__":
    main()
