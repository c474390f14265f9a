"""Chooses a token on the GPU: the functions that WebLLM asks of a library, and a greedy argmax.

Source: MLC-LLM's library interface (names, shapes, meaning). Logits and probabilities are float32.

Shape letters: B sequences (symbolic), V vocabulary size, N samples.
"""

from tvm import relax, tirx
from tvm.script import tirx as T  # noqa: N812

from recursivemas.compiler.kernels import argmax, nucleus, softmax
from recursivemas.compiler.kernels.sort_runs import WAYS, merge_runs
from recursivemas.compiler.relax_functions import define

_THREADS = 256


def add_sampling(builder: relax.BlockBuilder, vocabulary: int) -> None:
    """Adds the functions of this file that the module lacks.

    Args:
        builder: Of the module.
        vocabulary: V, the width of the model's logits.
    """
    present = {name.name_hint for name in builder.get().get_global_vars()}
    for name, add in (
        ("softmax_with_temperature", _add_softmax),
        ("argsort_probs", _add_argsort),
        ("sample_with_top_p", _add_top_p),
        ("argmax", _add_argmax),
    ):
        if name not in present:
            add(builder, vocabulary)
    for kernel in KERNELS:
        name = str(kernel.attrs["global_symbol"])
        if name not in present:
            builder.add_func(kernel, name)


def _call(
    builder: relax.BlockBuilder, kernel: tirx.PrimFunc, name: str, arguments: list[relax.Expr], *types: relax.TensorType
) -> list[relax.Expr]:
    """Calls a kernel; gives its results."""
    result = builder.emit(relax.call_tir(builder.add_func(kernel, name), arguments, list(types)))
    return [result] if len(types) == 1 else [builder.emit(relax.TupleGetItem(result, i)) for i in range(len(types))]


def _add_softmax(builder: relax.BlockBuilder, vocabulary: int) -> None:
    """Softmax of logits / temperature: (B, 1, V), (B,) to (B, 1, V)."""
    batch = tirx.Var("batch_size", "int64")
    logits = relax.Var("logits", relax.TensorType((batch, 1, vocabulary), "float32"))
    temperature = relax.Var("temperature", relax.TensorType((batch,), "float32"))

    def body() -> relax.Expr:
        parts = relax.TensorType((batch, softmax.blocks(vocabulary), 2), "float32")
        kernels = softmax.softmax_blocks(vocabulary), softmax.softmax_finish(vocabulary)
        found = _call(builder, kernels[0], "softmax_blocks", [logits, temperature], parts)
        return _call(builder, kernels[1], "softmax_finish", [logits, temperature, *found], logits.ty)[0]

    define(builder, "softmax_with_temperature", [logits, temperature], body)


def _add_argsort(builder: relax.BlockBuilder, vocabulary: int) -> None:
    """Probabilities from the largest to the smallest, and their tokens: (B, V) to (B, V) and (B, V) int32.

    TVM's own GPU sort needs blockIdx.z, which TVM's WebGPU runtime reserves.
    """
    batch = tirx.Var("batch_size", "int64")
    probs = relax.Var("probs", relax.TensorType((batch, vocabulary), "float32"))
    types = [relax.TensorType((batch, vocabulary), dtype) for dtype in ("float32", "int32")]

    def body() -> relax.Expr:
        found: list[relax.Expr] = [probs]
        run = 1
        while len(found) == 1 or run < vocabulary:
            found = _call(builder, merge_runs(vocabulary, run), "merge_runs", found, *types)
            run *= WAYS
        return relax.Tuple(found)

    define(builder, "argsort_probs", [probs], body)


def _add_top_p(builder: relax.BlockBuilder, vocabulary: int) -> None:
    """Samples N times from B distributions, each cut to the smallest set of tokens whose probabilities reach top_p."""
    batch, samples = tirx.Var("batch_size", "int64"), tirx.Var("num_samples", "int64")
    probs = relax.Var("sorted_probs", relax.TensorType((batch, vocabulary), "float32"))
    order = relax.Var("sorted_indices", relax.TensorType((batch, vocabulary), "int32"))
    uniform = relax.Var("uniform_samples", relax.TensorType((samples,), "float32"))
    rows = relax.Var("sample_indices", relax.TensorType((samples,), "int32"))
    top_p = relax.Var("top_p", relax.TensorType((batch,), "float32"))

    def body() -> relax.Expr:
        parts = relax.TensorType((batch, nucleus.blocks(vocabulary)), "float32")
        sums = _call(builder, nucleus.sum_blocks(vocabulary), "sum_blocks", [probs], parts)
        arguments = [probs, order, *sums, uniform, rows, top_p]
        return _call(builder, nucleus.draw(vocabulary), "draw", arguments, rows.ty)[0]

    define(builder, "sample_with_top_p", [probs, order, uniform, rows, top_p], body)


def _add_argmax(builder: relax.BlockBuilder, vocabulary: int) -> None:
    """(1, 1, V) float32 to (1,) int32; the first of equal values wins."""
    logits = relax.Var("logits", relax.TensorType((1, 1, vocabulary), "float32"))

    def body() -> relax.Expr:
        types = [relax.TensorType((argmax.blocks(vocabulary),), dtype) for dtype in ("float32", "int32")]
        found = _call(builder, argmax.argmax_blocks(vocabulary), "argmax_blocks", [logits], *types)
        index = relax.TensorType((1,), "int32")
        return _call(builder, argmax.argmax_finish(vocabulary), "argmax_finish", found, index)[0]

    define(builder, "argmax", [logits], body)


@T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
def apply_logit_bias_inplace(
    var_logits: T.handle, var_rows: T.handle, var_tokens: T.handle, var_bias: T.handle
) -> None:
    """logits[rows[i], tokens[i]] += bias[i]."""
    T.func_attr({"global_symbol": "apply_logit_bias_inplace", "tirx.noalias": True, "tirx.is_scheduled": True})
    batch, vocabulary, count = T.int32(), T.int32(), T.int32()
    logits = T.match_buffer(var_logits, (batch, vocabulary), "float32")
    rows = T.match_buffer(var_rows, (count,), "int32")
    tokens = T.match_buffer(var_tokens, (count,), "int32")
    bias = T.match_buffer(var_bias, (count,), "float32")
    for group in T.thread_binding((count + _THREADS - 1) // _THREADS, "blockIdx.x"):
        for thread in T.thread_binding(_THREADS, "threadIdx.x"):
            with T.sblock("bias"):
                T.where(group * _THREADS + thread < count)
                i = T.axis.spatial(count, group * _THREADS + thread)
                logits[rows[i], tokens[i]] = logits[rows[i], tokens[i]] + bias[i]


@T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
def apply_penalty_inplace(
    var_logits: T.handle,
    var_seq_ids: T.handle,
    var_rows: T.handle,
    var_tokens: T.handle,
    var_counts: T.handle,
    var_penalties: T.handle,
) -> None:
    """Presence, frequency and repetition penalties, as OpenAI and CTRL define them, of the tokens already written."""
    T.func_attr({"global_symbol": "apply_penalty_inplace", "tirx.noalias": True, "tirx.is_scheduled": True})
    batch, vocabulary, count, sequences = T.int32(), T.int32(), T.int32(), T.int32()
    logits = T.match_buffer(var_logits, (batch, vocabulary), "float32")
    seq_ids = T.match_buffer(var_seq_ids, (sequences,), "int32")
    rows = T.match_buffer(var_rows, (count,), "int32")
    tokens = T.match_buffer(var_tokens, (count,), "int32")
    counts = T.match_buffer(var_counts, (count,), "int32")
    penalties = T.match_buffer(var_penalties, (sequences, 3), "float32")
    for group in T.thread_binding((count + _THREADS - 1) // _THREADS, "blockIdx.x"):
        for thread in T.thread_binding(_THREADS, "threadIdx.x"):
            with T.sblock("penalty"):
                T.where(group * _THREADS + thread < count)
                i = T.axis.spatial(count, group * _THREADS + thread)
                logits[seq_ids[rows[i]], tokens[i]] = (
                    logits[seq_ids[rows[i]], tokens[i]]
                    - penalties[rows[i], 0]
                    - T.Cast("float32", counts[i]) * penalties[rows[i], 1]
                )
                logits[seq_ids[rows[i]], tokens[i]] = T.if_then_else(
                    logits[seq_ids[rows[i]], tokens[i]] < T.float32(0),
                    logits[seq_ids[rows[i]], tokens[i]] * penalties[rows[i], 2],
                    logits[seq_ids[rows[i]], tokens[i]] / penalties[rows[i], 2],
                )


@T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
def apply_bitmask_inplace(var_logits: T.handle, var_seq_ids: T.handle, var_bitmask: T.handle) -> None:
    """Sets the logits of tokens whose bit is 0 to the smallest float32."""
    T.func_attr({"global_symbol": "apply_bitmask_inplace", "tirx.noalias": True, "tirx.is_scheduled": True})
    batch, vocabulary, sequences = T.int32(), T.int32(), T.int32()
    logits = T.match_buffer(var_logits, (batch, vocabulary), "float32")
    seq_ids = T.match_buffer(var_seq_ids, (sequences,), "int32")
    bitmask = T.match_buffer(var_bitmask, (batch, (vocabulary + 31) // 32), "int32")
    for group in T.thread_binding((sequences * vocabulary + _THREADS - 1) // _THREADS, "blockIdx.x"):
        for thread in T.thread_binding(_THREADS, "threadIdx.x"):
            with T.sblock("bitmask"):
                T.where(group * _THREADS + thread < sequences * vocabulary)
                s = T.axis.spatial(sequences, (group * _THREADS + thread) // vocabulary)
                v = T.axis.spatial(vocabulary, (group * _THREADS + thread) % vocabulary)
                if T.bitwise_and(T.shift_right(bitmask[seq_ids[s], v // 32], v % 32), 1) == 0:
                    logits[seq_ids[s], v] = T.min_value("float32")


KERNELS: tuple[tirx.PrimFunc, ...] = (apply_logit_bias_inplace, apply_penalty_inplace, apply_bitmask_inplace)
