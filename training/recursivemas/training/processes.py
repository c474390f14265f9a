"""Several processes that share work, on one host or on several: `accelerate launch` or `torchrun` starts them.

Work is cut into pieces that do not depend on how many processes there are; every piece is done by one process, and all
get all results, in order. So the results are those of one process.
"""

import functools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import distributed

from recursivemas.system.errors import InputError

if TYPE_CHECKING:
    import accelerate

Piece = TypeVar("Piece")
Result = TypeVar("Result")

PATIENCE = timedelta(days=7)
"""How long processes wait for the slowest of them."""


def processes(device: torch.device) -> "accelerate.PartialState":
    """The processes that share the work: one, unless `accelerate launch` started more. Call it before agents load."""
    import accelerate

    return accelerate.PartialState(cpu=device.type == "cpu", timeout=PATIENCE)


def place() -> tuple[int, int]:
    """Number of this process, counted from 0, and how many there are."""
    started = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if started else (0, 1)


def check_shares(micro_batches: int, processes: int) -> None:
    """Refuses a number of processes that cannot share the micro-batches of a step evenly.

    Raises:
        InputError: Says what to set.
    """
    if micro_batches % processes:
        raise InputError(
            f"training.outer.gradient_accumulation is {micro_batches}, which {processes} processes cannot share "
            f"evenly: set a multiple of {processes}, with a batch_size that keeps the questions of a step"
        )


def share(pieces: Sequence[Piece], work: Callable[[Piece], Result]) -> list[Result]:
    """Does some work on every piece, in one of the processes each.

    Args:
        pieces: The same in all processes.
        work: Its results are pickled if there are several processes; tensors should be on the CPU.

    Returns:
        The result of every piece, in order, in all processes.
    """
    rank, count = place()
    own = [work(piece) for piece in pieces[rank::count]]
    if count == 1:
        return own
    results: list[Result] = []
    for first in range(0, len(pieces), count):  # one of each process at a time, because results may be large
        every: list[Any] = [None] * count
        mine = own[first // count] if first + rank < len(pieces) else None
        distributed.all_gather_object(every, mine, _on_cpu())
        results += every[: len(pieces) - first]
    return results


@functools.cache
def _on_cpu() -> Any:
    """A group of all processes that exchanges objects through main memory, also if tensors go from GPU to GPU."""
    return distributed.new_group(backend="gloo", timeout=PATIENCE)


def batch_seed(seed: int, begin: int) -> int:
    """Seed of a batch's sampling, which depends on no other batch.

    Args:
        seed: Of the run; also that of the first batch.
        begin: Where the batch begins among all questions.
    """
    return seed if begin == 0 else int(np.random.SeedSequence([seed, begin]).generate_state(1)[0])
