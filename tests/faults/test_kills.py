"""A kill at any moment loses nothing: a few kills of every command, and the campaign of `make kills`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.killing import KILLS, NO_REVISION, SERIES, Command, LossError, Nursery, Place, kill_series


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    started = Nursery()
    yield started
    started.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.make(tmp_path_factory.mktemp("place") / "place")


FEW = {"links convert": 4, "run": 2, "eval": 2, "train": 3, "adapt": 1, "fetch": 1, "build": 2, "site": 2}
FEW |= {"import-release": 1, "publish --assets": 2, "cache clear": 2}
FEW |= {"links gallery": 1, "tune --write": 1}


@pytest.mark.parametrize("name", FEW)
def test_a_kill_leaves_what_was_there_or_what_was_to_come(
    nursery: Nursery, place: Place, tmp_path: Path, name: str
) -> None:
    command = place.commands()[name]
    if name == "build":  # with agents that the machine has compiled already
        command = replace(command, before=lambda _folder, _number: None, environment=lambda _folder: NO_REVISION)
    kill_series(nursery, name, command, tmp_path, range(FEW[name]))


def test_a_loss_is_noticed(nursery: Nursery, place: Place, tmp_path: Path) -> None:
    convert = place.commands()["links convert"]

    def lose(folder: Path, number: int) -> None:
        if number:
            (folder / "links.json").write_text("{}")

    def words(folder: Path) -> list[object]:
        return ["cache", "list"] if (folder / "links.json").exists() else convert.words(folder)

    lossy = replace(convert, before=lose, words=words)
    with pytest.raises(LossError, match="links convert: after kill 1: "):
        kill_series(nursery, "links convert", lossy, tmp_path, [1])
    with pytest.raises(LossError, match="the first run ends with status"):
        kill_series(nursery, "x", Command(lambda _f: ["site"], "x", str), tmp_path, [1])


@pytest.mark.slow
def test_every_kill_of_a_campaign_loses_nothing(nursery: Nursery, place: Place, tmp_path: Path) -> None:
    killed = 0
    for name, command in place.commands().items():
        of_command = 0
        for first in range(0, 10 * KILLS, SERIES):
            if of_command >= KILLS:
                break
            of_command += kill_series(nursery, name, command, tmp_path, range(first, first + SERIES))
        killed += of_command
    assert killed >= 200
