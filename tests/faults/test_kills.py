"""A kill at any moment loses nothing: what was there before is there, whole, and the same command then ends as ever."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from recursivemas.system.files import sha256_of
from recursivemas.system.links_file import load_links
from recursivemas.system.manifest import load_manifest

REPOSITORY = Path(__file__).parents[2]
SYSTEM = REPOSITORY / "systems/hop-sequential.yaml"
LINKS = REPOSITORY / "systems/links/hop-sequential.recursivelink.json"

# Imports everything once, so that each command begins at once. A line has the words of a command and the seconds after
# which it is killed, null for never; the answer is its status and how long it took.
NURSERY = """
import json, os, signal, sys, time
import torch, transformers, peft, matplotlib.figure
from recursivemas.cli import app
import recursivemas.cli.build, recursivemas.cli.eval, recursivemas.cli.links, recursivemas.cli.run
import recursivemas.cli.site, recursivemas.cli.train
import recursivemas.training.train.trainer, recursivemas.training.evaluation.report, recursivemas.training.curves
import recursivemas.release.package, recursivemas.training.link_formats, recursivemas.training.trace

for line in sys.stdin:
    words, seconds = json.loads(line)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1):
            os.dup2(nothing, stream)
        sys.argv = ["rmas", *words]
        try:
            app.main()
        finally:
            sys.stderr.flush()
        os._exit(0)
    ended = (0, 0)
    while ended == (0, 0) and (seconds is None or time.monotonic() - began < seconds):
        time.sleep(0.002)
        ended = os.waitpid(child, os.WNOHANG)
    if ended == (0, 0):
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    print(json.dumps([ended[1], time.monotonic() - began]), flush=True)
"""


class Nursery:
    """Runs commands, and kills them."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, words: list[object], seconds: float | None = None) -> tuple[int, float]:
        """Status of a command, and how long it ran."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([[str(word) for word in words], seconds]) + "\n")
        self._process.stdin.flush()
        status, spent = json.loads(self._process.stdout.readline())
        return status, spent

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    started = Nursery()
    yield started
    started.close()


@dataclass(frozen=True)
class Command:
    """A command that writes into a folder.

    Attributes:
        words: Of the command line, by folder.
        check: Raises if the folder is neither as before the command nor as after it; if its second argument is true, if
            the folder is not as after it.
    """

    words: Callable[[Path], list[object]]
    check: Callable[[Path, bool], None]


def json_is_whole(name: str) -> Callable[[Path, bool], None]:
    def check(folder: Path, finished: bool) -> None:
        if finished or (folder / name).exists():
            assert isinstance(json.loads((folder / name).read_text()), dict)

    return check


def links_are_whole(folder: Path, finished: bool) -> None:
    if finished or (folder / "links.json").exists():
        assert load_links(folder / "links.json").system == "hop-sequential"


def training_goes_on(folder: Path, finished: bool) -> None:
    if finished or (folder / "run/recursivelink.json").exists():
        load_links(folder / "run/recursivelink.json")
    if finished:
        assert [path.name for path in (folder / "run").iterdir() if ".part" in path.name] == []


def build_is_whole(folder: Path, finished: bool) -> None:
    out = folder / "built"
    if finished or out.exists():
        for file in load_manifest(out / "system.json").files:
            assert sha256_of(out / file.path) == file.sha256
    if finished:
        assert [path.name for path in folder.iterdir() if path.name.startswith(".built.")] in ([], [".built.stamp"])


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system whose training takes a few steps."""
    data = yaml.safe_load(SYSTEM.read_text())
    for agent in data["agents"]:
        agent["model"] = str((SYSTEM.parent / agent["model"]).resolve())
    del data["task"]["data"]
    inner = {"questions": 8, "steps": 20, "batch_size": 16, "text_tokens": 2}
    outer = {"alignment_steps": 10, "steps": 4, "batch_size": 2, "warmup_steps": 0}
    path = tmp_path_factory.mktemp("short") / "system.yaml"
    path.write_text(yaml.safe_dump({**data, "training": {"inner": inner, "outer": outer}}))
    return path


def commands(short: Path) -> dict[str, Command]:
    few: list[object] = ["--rounds", 1, "--latent-steps", 1]
    return {
        "convert": Command(
            lambda folder: ["links", "convert", LINKS, "--out", folder / "links.json", "--dtype", "float32"],
            links_are_whole,
        ),
        "run": Command(
            lambda folder: ["run", SYSTEM, "--links", LINKS, "--question", "q", "--trace", folder / "x.json", *few],
            json_is_whole("x.json"),
        ),
        "eval": Command(
            lambda folder: ["eval", SYSTEM, "--links", LINKS, "--limit", 2, "--out", folder, *few],
            json_is_whole("eval.json"),
        ),
        "train": Command(
            lambda folder: ["train", short, "--out", folder / "run", "--resume", "--checkpoint-every", 2],
            training_goes_on,
        ),
        "build": Command(
            lambda folder: ["build", SYSTEM, "--links", LINKS, "--out", folder / "built"],
            build_is_whole,
        ),
    }


def kill_at_random(nursery: Nursery, command: Command, folder: Path, kills: int, seed: int) -> int:
    """Kills a command at random moments, each after an earlier run that ended well, and checks what is left.

    Returns:
        How many runs were killed before they ended.
    """
    moments = random.Random(seed)
    status, duration = nursery(command.words(folder))
    assert status == 0
    command.check(folder, True)
    killed = 0
    for _ in range(kills):
        status, _ = nursery(command.words(folder), moments.uniform(0, duration))
        killed += status == 9
        command.check(folder, False)
    assert nursery(command.words(folder))[0] == 0
    command.check(folder, True)
    return killed


@pytest.mark.parametrize(("name", "kills"), [("convert", 4), ("run", 2), ("eval", 2), ("build", 2)])
def test_a_kill_leaves_what_was_there_or_what_was_to_come(
    nursery: Nursery, short: Path, tmp_path: Path, name: str, kills: int
) -> None:
    kill_at_random(nursery, commands(short)[name], tmp_path, kills, 14)


def test_training_that_is_killed_again_and_again_ends_as_if_it_never_was(
    nursery: Nursery, short: Path, tmp_path: Path
) -> None:
    _training(nursery, short, tmp_path, 3, 14)


def _training(nursery: Nursery, short: Path, folder: Path, kills: int, seed: int) -> int:
    command, moments = commands(short)["train"], random.Random(seed)
    for name in ("whole", "killed"):
        (folder / name).mkdir()
    status, duration = nursery(command.words(folder / "whole"))
    assert status == 0
    killed = 0
    for _ in range(kills):
        status, _ = nursery(command.words(folder / "killed"), moments.uniform(0, duration))
        killed += status == 9
        command.check(folder / "killed", False)
    assert nursery(command.words(folder / "killed"))[0] == 0
    command.check(folder / "killed", True)
    one, other = (load_links(folder / name / "run/recursivelink.json") for name in ("whole", "killed"))
    assert (one.inner, one.outer) == (other.inner, other.outer)
    return killed


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(nursery: Nursery, short: Path, tmp_path: Path) -> None:
    killed = 0
    for seed, (name, command) in enumerate(commands(short).items()):
        if name != "train":
            (tmp_path / name).mkdir()
            killed += kill_at_random(nursery, command, tmp_path / name, 40, seed)
    for seed in range(14):
        (tmp_path / f"train-{seed}").mkdir()
        killed += _training(nursery, short, tmp_path / f"train-{seed}", 4, seed)
    assert killed >= 200
