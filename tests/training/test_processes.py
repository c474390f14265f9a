"""Two processes that share collecting and evaluation, over gloo on this machine's CPU."""

import itertools
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed

from recursivemas.system.errors import InputError
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.evaluation import evaluate as evaluation
from recursivemas.training.processes import batch_seed, check_shares, share
from recursivemas.training.recursion import Recursion
from recursivemas.training.tasks import hop
from recursivemas.training.train import pairs
from tests.training.conftest import make_links

PROCESSES = 2


def found_by(system: System, agents: dict[str, LoadedAgent]) -> dict[str, object]:
    """Pairs and a measured cell that several batches give, as comparable values."""
    records = hop.questions(7, 3)
    recursion = Recursion(system, agents, make_links(system, agents))
    texts = pairs.collect_pairs(recursion, records, temperature=1.0, seed=5)
    latent = pairs.collect_latent_pairs(recursion, records, seed=6, candidates=2)
    cell = evaluation.evaluate(recursion, records, "latent", temperature=1.0, seed=3, batch_size=2)
    return {"texts": texts, "latent": latent, "cell": replace(cell, time_ms=0.0)}


def one_of_two(rank: int, meeting: Path, system: System, agents: dict[str, LoadedAgent], out: Path) -> None:
    torch.set_num_threads(1)
    pairs.BATCH = 2
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=PROCESSES)
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return number * number

    assert share(range(5), work) == [0, 1, 4, 9, 16]
    assert done == list(range(rank, 5, PROCESSES))
    torch.save(found_by(system, agents), out / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_find_what_one_finds(
    system: System, agents: dict[str, LoadedAgent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)  # more would not survive the fork
    monkeypatch.setattr(pairs, "BATCH", 2)
    expected = found_by(system, agents)
    forks = multiprocessing.get_context("fork")
    started = [
        forks.Process(target=one_of_two, args=(rank, tmp_path / "meeting", system, agents, tmp_path))
        for rank in range(PROCESSES)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0]
    for rank in range(PROCESSES):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=False)  # this test's own file
        assert found["cell"] == expected["cell"]
        for name, key in itertools.product(("texts", "latent"), agents):
            own, wanted = found[name][key], expected[name][key]  # type: ignore[index]
            assert torch.equal(own.hidden, wanted.hidden) and torch.equal(own.targets, wanted.targets)
            assert all(torch.equal(own.received[each], wanted.received[each]) for each in wanted.received)


def test_a_batch_has_a_seed_of_its_own_and_the_first_that_of_the_run() -> None:
    seeds = [batch_seed(7, begin) for begin in (0, 128, 256)]
    assert seeds[0] == 7 and len(set(seeds)) == 3
    assert batch_seed(8, 128) != seeds[1]


def test_processes_that_cannot_share_a_step_evenly_are_refused() -> None:
    check_shares(4, 1)
    check_shares(4, 2)
    with pytest.raises(InputError, match=r"gradient_accumulation is 1, which 2 processes .* set a multiple of 2"):
        check_shares(1, 2)
