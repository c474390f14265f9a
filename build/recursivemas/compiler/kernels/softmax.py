"""Softmax of logits divided by a temperature, in two dispatches.

Each workgroup of the first finds its block's largest logit and the sum of exponentials relative to it. In the second,
every thread merges those of all blocks (37 for 150,000 logits) and writes its block's probabilities.

Assumes: nothing of the number of logits; of each row, one is above -3e38 once it is divided by the temperature.
"""

from collections.abc import Callable
from functools import cache

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks

THREADS = 256
BLOCK = 4096
LEAST_TEMPERATURE = 1e-6
"""Lower temperatures are raised to this one, which already picks the most probable token; WebLLM asks for no less."""
_LEAST = -3.0e38


def blocks(vocabulary: int) -> int:
    """Workgroups of a row."""
    return -(-vocabulary // BLOCK)


@cache
def softmax_blocks(vocabulary: int) -> tirx.PrimFunc:
    """logits (B, 1, V), temperature (B,) to (B, blocks, 2): largest scaled logit, sum of exponentials; all float32."""

    def define() -> None:
        batch = ks.size("batch")
        logits = ks.argument("logits", (batch, 1, vocabulary), "float32")
        temperature = ks.argument("temperature", (batch,), "float32")
        parts = ks.argument("parts", (batch, blocks(vocabulary), 2), "float32")
        with ks.launch([blocks(vocabulary), batch], THREADS) as (block, row, thread):
            largest, total = ks.local(1), ks.local(1)
            all_largest, all_total = ks.shared((THREADS,), "float32"), ks.shared((THREADS,), "float32")
            ks.store(largest, ks.f32(_LEAST), 0)
            ks.store(total, ks.f32(0.0), 0)
            with T.serial(BLOCK // THREADS) as step:
                at = block * BLOCK + step * THREADS + thread
                with ks.when(at < vocabulary):
                    ks.store(largest, tirx.max(largest[0], _scaled(logits, temperature, row, at)), 0)
            with T.serial(BLOCK // THREADS) as step:
                at = block * BLOCK + step * THREADS + thread
                with ks.when(at < vocabulary):
                    power = tirx.exp(_scaled(logits, temperature, row, at) - largest[0])
                    ks.store(total, total[0] + power, 0)
            ks.store(all_largest, largest[0], thread)
            ks.store(all_total, total[0], thread)
            ks.barrier()
            with ks.when(thread == 0):
                _merge(largest, total, THREADS, lambda i: (all_largest[i], all_total[i]))
                ks.store(parts, largest[0], row, block, 0)
                ks.store(parts, total[0], row, block, 1)

    return ks.build(define)


@cache
def softmax_finish(vocabulary: int) -> tirx.PrimFunc:
    """logits, temperature and what `softmax_blocks` found to probabilities (B, 1, V)."""

    def define() -> None:
        batch = ks.size("batch")
        logits = ks.argument("logits", (batch, 1, vocabulary), "float32")
        temperature = ks.argument("temperature", (batch,), "float32")
        parts = ks.argument("parts", (batch, blocks(vocabulary), 2), "float32")
        output = ks.argument("probs", (batch, 1, vocabulary), "float32")
        with ks.launch([blocks(vocabulary), batch], THREADS) as (block, row, thread):
            largest, total = ks.local(1), ks.local(1)
            _merge(largest, total, blocks(vocabulary), lambda i: (parts[row, i, 0], parts[row, i, 1]))
            with T.serial(BLOCK // THREADS) as step:
                at = block * BLOCK + step * THREADS + thread
                with ks.when(at < vocabulary):
                    power = tirx.exp(_scaled(logits, temperature, row, at) - largest[0])
                    ks.store(output, power / total[0], row, 0, at)

    return ks.build(define)


def _scaled(logits: tirx.Buffer, temperature: tirx.Buffer, row: tirx.Expr, at: tirx.Expr) -> tirx.Expr:
    return logits[row, 0, at] / tirx.max(temperature[row], ks.f32(LEAST_TEMPERATURE))


def _merge(
    largest: tirx.Buffer, total: tirx.Buffer, count: int, part: Callable[[tirx.Var], tuple[tirx.Expr, tirx.Expr]]
) -> None:
    """The largest of all parts, and the sum of their sums relative to it."""
    ks.store(largest, ks.f32(_LEAST), 0)
    with T.serial(count) as i:
        ks.store(largest, tirx.max(largest[0], part(i)[0]), 0)
    ks.store(total, ks.f32(0.0), 0)
    with T.serial(count) as i:
        top, power = part(i)
        ks.store(total, total[0] + power * tirx.exp(top - largest[0]), 0)
