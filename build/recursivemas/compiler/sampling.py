"""Chooses a token on the GPU: the functions that WebLLM asks of a library, and a greedy argmax.

Source: MLC-LLM's library interface (names, shapes, meaning). Logits and probabilities are float32.

Shape letters: B sequences (symbolic), V vocabulary size, N samples.
"""

from collections.abc import Callable

from tvm import relax, te, tirx
from tvm.script import tirx as T  # noqa: N812

from recursivemas.compiler.relax_functions import define

# Lower temperatures are raised to this one, which already picks the most probable token; WebLLM never asks for less.
_LEAST_TEMPERATURE = 1e-6
_THREADS = 256
_NEVER = 3.0e38
# relax.op.OpPatternKind: never fused. A reduction that is fused with its input gets a worse schedule.
_OPAQUE = 8


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


def _add_softmax(builder: relax.BlockBuilder, vocabulary: int) -> None:
    """Softmax of logits / temperature: (B, 1, V), (B,) to (B, 1, V)."""
    batch = tirx.Var("batch_size", "int64")
    logits = relax.Var("logits", relax.TensorType((batch, 1, vocabulary), "float32"))
    temperature = relax.Var("temperature", relax.TensorType((batch,), "float32"))

    def scale(x: te.Tensor, degrees: te.Tensor) -> te.Tensor:
        least = tirx.const(_LEAST_TEMPERATURE, "float32")
        return te.compute(x.shape, lambda b, i, v: x[b, i, v] / tirx.max(degrees[b], least), name="scale")

    def body() -> relax.Expr:
        scaled = builder.emit_te(scale, logits, temperature, primfunc_name_hint="scale_logits")
        return builder.emit(relax.op.nn.softmax(scaled, axis=-1))

    define(builder, "softmax_with_temperature", [logits, temperature], body)


def _add_argsort(builder: relax.BlockBuilder, vocabulary: int) -> None:
    """Probabilities from the largest to the smallest, and their tokens: (B, V) to (B, V) and (B, V) int32.

    It is a stable merge sort. TVM's own GPU sort needs blockIdx.z, which TVM's WebGPU runtime reserves.
    """
    batch = tirx.Var("batch_size", "int64")
    probs = relax.Var("probs", relax.TensorType((batch, vocabulary), "float32"))
    merge = builder.add_func(_merge_runs(vocabulary), "merge_runs")
    sorted_types = [relax.TensorType((batch, vocabulary), dtype) for dtype in ("float32", "int32")]

    def unsorted(values: te.Tensor) -> te.Tensor:
        return te.compute(values.shape, lambda _, v: v.astype("int32"), name="unsorted")

    def body() -> relax.Expr:
        values, order = probs, builder.emit_te(unsorted, probs, primfunc_name_hint="unsorted")
        run = 1
        while run < vocabulary:
            merged = builder.emit(relax.call_tir(merge, [values, order, tirx.IntImm("int32", run)], sorted_types))
            values, order = (builder.emit(relax.TupleGetItem(merged, part)) for part in range(2))
            run *= 2
        return relax.Tuple([values, order])

    define(builder, "argsort_probs", [probs], body)


def _merge_runs(vocabulary: int) -> tirx.PrimFunc:
    """One pass: pairs of sorted runs become sorted runs of twice the length.

    Every element finds its place on its own: its rank in its run plus, by bisection, how many elements of the other run
    come before it. No barriers, so it is also fast on adapters that run on the CPU.
    """
    halvings = vocabulary.bit_length()

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def merge_runs(
        var_values: T.handle, var_order: T.handle, run: T.int32, var_values_out: T.handle, var_order_out: T.handle
    ) -> None:
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        batch = T.int32()
        values = T.match_buffer(var_values, (batch, vocabulary), "float32")
        order = T.match_buffer(var_order, (batch, vocabulary), "int32")
        values_out = T.match_buffer(var_values_out, (batch, vocabulary), "float32")
        order_out = T.match_buffer(var_order_out, (batch, vocabulary), "int32")
        for group in T.thread_binding((batch * vocabulary + _THREADS - 1) // _THREADS, "blockIdx.x"):
            for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                with T.sblock("merge"):
                    T.where(group * _THREADS + thread < batch * vocabulary)
                    row = T.axis.spatial(batch, (group * _THREADS + thread) // vocabulary)
                    v = T.axis.spatial(vocabulary, (group * _THREADS + thread) % vocabulary)
                    low = T.sblock_alloc_buffer((1,), "int32", scope="local")
                    high = T.sblock_alloc_buffer((1,), "int32", scope="local")
                    middle = T.sblock_alloc_buffer((1,), "int32", scope="local")
                    start = T.meta_var(v // (2 * run) * (2 * run))
                    is_left = T.meta_var(v - start < run)
                    other = T.meta_var(T.Select(is_left, start + run, start))
                    low[0] = 0
                    high[0] = T.max(T.min(run, vocabulary - other), 0)
                    for _halving in T.serial(halvings):
                        if low[0] < high[0]:
                            middle[0] = (low[0] + high[0]) // 2
                            # Equal values of the left run come first.
                            if (values[row, other + middle[0]] > values[row, v]) or (
                                (not is_left) and (values[row, other + middle[0]] == values[row, v])
                            ):
                                low[0] = middle[0] + 1
                            else:
                                high[0] = middle[0]
                    values_out[row, T.min(start, other) + (v - T.Select(is_left, start, start + run)) + low[0]] = (
                        values[row, v]
                    )
                    order_out[row, T.min(start, other) + (v - T.Select(is_left, start, start + run)) + low[0]] = order[
                        row, v
                    ]

    return merge_runs


def _add_top_p(builder: relax.BlockBuilder, vocabulary: int) -> None:
    """Samples N times from B distributions, each cut to the smallest set of tokens whose probabilities reach top_p."""
    batch, samples = tirx.Var("batch_size", "int64"), tirx.Var("num_samples", "int64")
    probs = relax.Var("sorted_probs", relax.TensorType((batch, vocabulary), "float32"))
    order = relax.Var("sorted_indices", relax.TensorType((batch, vocabulary), "int32"))
    uniform = relax.Var("uniform_samples", relax.TensorType((samples,), "float32"))
    rows = relax.Var("sample_indices", relax.TensorType((samples,), "int32"))
    top_p = relax.Var("top_p", relax.TensorType((batch,), "float32"))

    add = builder.add_func(_add_from_before(vocabulary), "add_from_before")

    def reaching(sums: te.Tensor, least: te.Tensor) -> te.Tensor:
        """(B, V) running sums; `_NEVER` where they do not reach top_p."""
        never = tirx.const(_NEVER, "float32")
        return te.compute(
            sums.shape, lambda b, v: tirx.Select(sums[b, v] >= least[b], sums[b, v], never), name="reaching"
        )

    def below(sums: te.Tensor, first: te.Tensor, least: te.Tensor, draws: te.Tensor, of: te.Tensor) -> te.Tensor:
        """(N, V) whether a token lies below the draw; draws are fractions of the kept probability mass."""

        def kept(b: tirx.Expr) -> tirx.Expr:
            # After rounding, even the last sum may be below top_p.
            return tirx.Select(first[b] < tirx.const(_NEVER, "float32"), first[b], least[b])

        return te.compute(
            (draws.shape[0], vocabulary),
            lambda n, v: tirx.Select(sums[of[n], v] <= draws[n] * kept(of[n]), 1, 0),
            name="below",
        )

    def pick(tokens: te.Tensor, ranks: te.Tensor, of: te.Tensor) -> te.Tensor:
        return te.compute(ranks.shape, lambda n: tokens[of[n], tirx.min(ranks[n], vocabulary - 1)], name="sampled")

    def body() -> relax.Expr:
        sums, stride = probs, 1
        while stride < vocabulary:
            sums = builder.emit(relax.call_tir(add, [sums, tirx.IntImm("int32", stride)], probs.ty))
            stride *= 2
        candidates = builder.emit_te(reaching, sums, top_p, primfunc_attrs={"op_pattern": _OPAQUE})
        first = _extreme(builder, candidates, te.min, _NEVER)
        lower = builder.emit_te(below, sums, first, top_p, uniform, rows)
        ranks = builder.emit(relax.op.sum(lower, axis=-1))
        return builder.emit_te(pick, order, ranks, rows, primfunc_name_hint="sampled")

    define(builder, "sample_with_top_p", [probs, order, uniform, rows, top_p], body)


def _add_from_before(vocabulary: int) -> tirx.PrimFunc:
    """One pass of running sums: adds to each element the one `stride` places before it.

    Source: Hillis and Steele, 1986. TVM's scan for WebGPU gave wrong sums in Chromium.
    """

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def add_from_before(var_sums: T.handle, stride: T.int32, var_out: T.handle) -> None:
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        batch = T.int32()
        sums = T.match_buffer(var_sums, (batch, vocabulary), "float32")
        out = T.match_buffer(var_out, (batch, vocabulary), "float32")
        for group in T.thread_binding((batch * vocabulary + _THREADS - 1) // _THREADS, "blockIdx.x"):
            for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                with T.sblock("add"):
                    T.where(group * _THREADS + thread < batch * vocabulary)
                    row = T.axis.spatial(batch, (group * _THREADS + thread) // vocabulary)
                    v = T.axis.spatial(vocabulary, (group * _THREADS + thread) % vocabulary)
                    before: T.let[T.float32] = T.if_then_else(v >= stride, sums[row, v - stride], T.float32(0))
                    out[row, v] = sums[row, v] + before

    return add_from_before


def _add_argmax(builder: relax.BlockBuilder, vocabulary: int) -> None:
    """(1, 1, V) float32 to (1,) int32; the first of equal values wins."""
    logits = relax.Var("logits", relax.TensorType((1, 1, vocabulary), "float32"))

    def where_equal(x: te.Tensor, best: te.Tensor) -> te.Tensor:
        """(1, V) int32: the index where the value is the largest, elsewhere V."""
        return te.compute(
            x.shape, lambda b, v: tirx.Select(x[b, v] == best[b], v.astype("int32"), vocabulary), name="where_equal"
        )

    def body() -> relax.Expr:
        rows = builder.emit(relax.op.reshape(logits, (1, vocabulary)))
        best = _extreme(builder, rows, te.max, -_NEVER)
        indices = builder.emit_te(where_equal, rows, best, primfunc_attrs={"op_pattern": _OPAQUE})
        return _extreme(builder, indices, te.min, vocabulary)

    define(builder, "argmax", [logits], body)


def _extreme(
    builder: relax.BlockBuilder, table: relax.Expr, combine: Callable[..., tirx.Expr], neutral: float
) -> relax.Expr:
    """Largest or smallest of each row, (B, V) to (B,), in two steps of about sqrt(V).

    TVM's GPU schedules spread only sums over threads; a single thread would compute a plain maximum.
    """
    width = int(table.ty.shape[1])
    lanes = 1 << (width.bit_length() + 1) // 2
    steps = -(-width // lanes)

    def narrow(x: te.Tensor) -> te.Tensor:
        step = te.reduce_axis((0, steps), name="step")

        def value(b: tirx.Var, lane: tirx.Var) -> tirx.Expr:
            v = step * lanes + lane
            return combine(tirx.if_then_else(v < width, x[b, v], tirx.const(neutral, str(x.dtype))), axis=step)

        return te.compute((x.shape[0], lanes), value, name="narrow")

    def finish(x: te.Tensor) -> te.Tensor:
        lane = te.reduce_axis((0, lanes), name="lane")
        return te.compute((x.shape[0],), lambda b: combine(x[b, lane], axis=lane), name="finish")

    partial = builder.emit_te(narrow, table, primfunc_attrs={"op_pattern": _OPAQUE})
    return builder.emit_te(finish, partial, primfunc_attrs={"op_pattern": _OPAQUE})


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
