"""Whatever goes wrong, the command line says it in one line; a traceback goes into a file."""

import re
import sys
from pathlib import Path

import pytest
from rich.table import Table

from recursivemas.cli import app
from recursivemas.cli.console import plain_console
from recursivemas.system.errors import InputError


class PanicError(BaseException):
    """As the one that Rust's libraries raise."""


def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException) -> str:
    """What `rmas plan` prints if this happens in it."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("recursivemas.cli.plan.plan_release", fail)
    monkeypatch.setattr(sys, "argv", ["rmas", "plan", "x"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "Traceback" not in printed
    return printed


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("bad\nthing"), "rmas: unexpected error: ValueError: bad;"),
        (EOFError(), "rmas: unexpected error: RuntimeError: a file ended too early"),
        (OSError(71, "Protocol error", "/x/y"), "rmas: /x/y: Protocol error;"),
        (MemoryError(), "rmas: out of memory;"),
        (KeyError("\ud800[red]"), "rmas: unexpected error: KeyError"),
        (PanicError("index out of range"), "rmas: unexpected error: PanicError: index out of range;"),
    ],
)
def test_an_unexpected_error_is_one_line_and_a_file(
    error: BaseException,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    printed = told(capsys, monkeypatch, error)
    assert printed.startswith(words)
    found = re.search(r"; (\S+) has the traceback", printed)
    assert found is not None
    assert "Traceback" in Path(found[1]).read_text(encoding="utf-8")
    assert Path(found[1]).stat().st_mode & 0o77 == 0


def test_without_a_temporary_folder_the_line_still_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert "could not be written" in told(capsys, monkeypatch, ValueError("bad"))


def test_a_mistake_of_the_user_and_a_full_disk_are_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(28, "No space left on device", "/x/y")
    assert told(capsys, monkeypatch, full) == "rmas: /x/y: No space left on device\n"
    assert told(capsys, monkeypatch, InputError("x:\n no such [bold]file")) == "rmas: x: no such [bold]file\n"


def test_texts_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(capsys, monkeypatch, InputError("a\x1b[2Jb\x00c")) == "rmas: a\\x1b[2Jb\\x00c\n"
    table = Table("[red]heading[/]")
    table.add_row("[/bold] :smile: [link=file:///etc/passwd]x[/link]")
    console = plain_console()
    console.print(table)
    console.print("answer: [/] [on red]")
    shown = capsys.readouterr().out
    for text in ("[red]heading[/]", "[/bold] :smile: [link=file:///etc/passwd]x[/link]", "answer: [/] [on red]"):
        assert text in shown
