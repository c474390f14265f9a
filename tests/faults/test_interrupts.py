"""Ctrl-C at any moment, imports included, ends a command without a traceback."""

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SYSTEM = REPOSITORY / "systems/hop-sequential.yaml"
LINKS = REPOSITORY / "systems/links/hop-sequential.recursivelink.json"
RUN: list[object] = ["run", SYSTEM, "--links", LINKS, "--question", "q", "--rounds", 1]

# The moment counts from here: the interpreter's own start is not ours.
ENTRY = "from recursivemas.cli.entry import main; print('began', flush=True); main()"


def interrupted(words: list[object], seconds: float) -> tuple[int, str]:
    """Status and standard error of a command that gets Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENTRY, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A process that a shell starts in the background ignores Ctrl-C, and so would its children here.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None and process.stdout.readline() == "began\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def check(words: list[object], seconds: float) -> None:
    status, said = interrupted(words, seconds)
    assert status in (0, 130, -signal.SIGINT), (seconds, said)
    assert "Traceback" not in said and "unexpected error" not in said, (seconds, said)


def test_an_interrupt_during_imports_prints_no_traceback() -> None:
    check(["cache", "list"], 0.02)
    check(RUN, 0.8)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["cache", "list"], RUN], ids=["cache", "run"])
def test_an_interrupt_at_any_moment_prints_no_traceback(words: list[object]) -> None:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", ENTRY, *map(str, words)], check=True, capture_output=True)
    longest = time.monotonic() - began
    moments = random.Random(14)
    for _ in range(15):
        check(words, moments.uniform(0, longest))
