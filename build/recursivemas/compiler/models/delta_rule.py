"""Kernels of gated delta networks: the causal convolution, the gates, and the delta rule by position and by chunk.

Source: Gated Delta Networks (arXiv 2412.06464), section 3.3, and DeltaNet (arXiv 2406.06484), section 3.2: inside a
chunk of C positions, the updates of the state follow from one triangular system, so a chunk is products of matrices.
What they compute is `modeling_qwen3_5.py` of transformers. Deviation: the inverse of the system is applied to what the
state leaves over (beta (V - exp(decay) K S)) instead of to values and keys apart, which saves two matrices per chunk.

Everything is float32 whatever the model dtype. Shape letters: T positions, N chunks, C positions per chunk, H value
heads, K width of a key head, V width of a value head. Queries are already normalised and scaled, keys normalised. Both
are in one (T, 2 key heads, K) array, the queries first.
"""

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812

from recursivemas.compiler.models.attention_kernels import polynomial
from recursivemas.compiler.models.config import LinearAttention

CHUNK = 32
"""C. A (C, C) matrix needs 4 KiB of workgroup memory."""

_COLUMNS = 16
"""Columns of the state that one workgroup carries through all chunks: 8 KiB at K = 128."""
_STEP_COLUMNS = 64
_THREADS = 256
_SYSTEM_THREADS = 128
_CHANNELS = 64

# atanh(s) / s in s * s for |s| <= 1 / 3, highest power first: its Taylor series.
_ATANH = (1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3, 1.0)


def sigmoid(x: tirx.Expr) -> tirx.Expr:
    """1 / (1 + exp(-x)) of a float32, without overflow."""
    return tirx.const(1.0, "float32") / (
        tirx.const(1.0, "float32") + tirx.exp(tirx.min(-x, tirx.const(80.0, "float32")))
    )


def log1p_ratio(ratio: tirx.Expr) -> tirx.Expr:
    """log(1 + e) of 0 <= e <= 1 as 2 atanh(s), given s = e / (2 + e); WGSL's logarithm is too coarse near 1."""
    return tirx.const(2.0, "float32") * ratio * polynomial(ratio * ratio, *_ATANH)


def convolution_kernel(linear: LinearAttention, width: int, dtype: str) -> tirx.PrimFunc:
    """The causal convolution over positions with its SiLU; it also moves the last inputs into the state.

    One thread runs along the positions of a channel.

    Args:
        linear: The layer's shape.
        width: Of the projections; the convolved channels come first.
        dtype: Of the weight.
    """
    channels, taps = linear.conv_channels, linear.conv_kernel_dim

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def causal_convolution(var_x: T.handle, var_weight: T.handle, var_state: T.handle, var_y: T.handle) -> None:
        T.func_attr({"op_pattern": 8, "tirx.noalias": True, "tirx.is_scheduled": True})
        length = T.int64()
        x = T.match_buffer(var_x, (1, length, width), "float32")
        weight = T.match_buffer(var_weight, (channels, 1, taps), dtype)
        state = T.match_buffer(var_state, (taps - 1, channels), "float32")
        y = T.match_buffer(var_y, (length, channels), "float32")
        for group in T.thread_binding((channels + _CHANNELS - 1) // _CHANNELS, "blockIdx.x"):
            for thread in T.thread_binding(_CHANNELS, "threadIdx.x"):
                with T.sblock("convolution"):
                    T.reads()
                    T.writes()
                    window = T.sblock_alloc_buffer((taps,), "float32", scope="local")
                    total = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    if group * _CHANNELS + thread < channels:
                        for tap in T.unroll(taps - 1):
                            window[tap] = state[tap, group * _CHANNELS + thread]
                        for t in T.serial(length):
                            window[taps - 1] = x[0, t, group * _CHANNELS + thread]
                            total[0] = T.float32(0)
                            for tap in T.unroll(taps):
                                total[0] = total[0] + window[tap] * T.Cast(
                                    "float32", weight[group * _CHANNELS + thread, 0, tap]
                                )
                            y[t, group * _CHANNELS + thread] = total[0] * sigmoid(total[0])
                            for tap in T.unroll(taps - 1):
                                window[tap] = window[tap + 1]
                        for tap in T.unroll(taps - 1):
                            state[tap, group * _CHANNELS + thread] = window[tap]

    return causal_convolution


def gates_kernel(linear: LinearAttention, width: int) -> tirx.PrimFunc:
    """beta, and the logarithm of the decay since the start of the position's chunk.

    Args:
        linear: The layer's shape.
        width: Of the projections; beta's come before the last H, which are the decay's.
    """
    heads = linear.num_value_heads
    betas, decays = width - 2 * heads, width - heads

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def gates(
        var_x: T.handle, var_a_log: T.handle, var_dt_bias: T.handle, var_beta: T.handle, var_decay: T.handle
    ) -> None:
        T.func_attr({"op_pattern": 8, "tirx.noalias": True, "tirx.is_scheduled": True})
        length = T.int64()
        x = T.match_buffer(var_x, (1, length, width), "float32")
        a_log = T.match_buffer(var_a_log, (heads,), "float32")
        dt_bias = T.match_buffer(var_dt_bias, (heads,), "float32")
        beta = T.match_buffer(var_beta, (length, heads), "float32")
        decay = T.match_buffer(var_decay, (length, heads), "float32")
        for group in T.thread_binding((length * heads + _THREADS - 1) // _THREADS, "blockIdx.x"):
            for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                with T.sblock("gates"):
                    T.where(group * _THREADS + thread < length * heads)
                    t = T.axis.spatial(length, (group * _THREADS + thread) // heads)
                    h = T.axis.spatial(heads, (group * _THREADS + thread) % heads)
                    T.reads()
                    T.writes()
                    total = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    step = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    ratio = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    before = T.sblock_alloc_buffer((1,), "int32", scope="local")
                    before[0] = T.Cast("int32", t % CHUNK)
                    total[0] = T.float32(0)
                    for back in T.serial(CHUNK):
                        if back <= before[0]:
                            step[0] = x[0, t - back, decays + h] + dt_bias[h]
                            ratio[0] = T.exp(-T.abs(step[0]))
                            ratio[0] = ratio[0] / (T.float32(2) + ratio[0])
                            total[0] = total[0] + T.max(step[0], T.float32(0)) + log1p_ratio(ratio[0])
                    decay[t, h] = -T.exp(a_log[h]) * total[0]
                    beta[t, h] = sigmoid(x[0, t, betas + h])

    return gates


def step_kernel(linear: LinearAttention) -> tirx.PrimFunc:
    """The delta rule for one position: S = exp(decay) S + k beta (v - exp(decay) kᵀ S)ᵀ, and Sᵀ q."""
    heads, share = linear.num_value_heads, linear.value_heads_per_key_head
    key_heads, key_dim, value_dim = linear.num_key_heads, linear.key_head_dim, linear.value_head_dim
    channels, values = linear.conv_channels, linear.first_value_channel
    parts = _THREADS // _STEP_COLUMNS

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def delta_rule_step(
        var_qk: T.handle,
        var_y: T.handle,
        var_beta: T.handle,
        var_decay: T.handle,
        var_state: T.handle,
        var_out: T.handle,
    ) -> None:
        T.func_attr({"op_pattern": 8, "tirx.noalias": True, "tirx.is_scheduled": True})
        qk = T.match_buffer(var_qk, (1, 2 * key_heads, key_dim), "float32")
        y = T.match_buffer(var_y, (1, channels), "float32")
        beta = T.match_buffer(var_beta, (1, heads), "float32")
        decay = T.match_buffer(var_decay, (1, heads), "float32")
        state = T.match_buffer(var_state, (heads * key_dim, value_dim), "float32")
        out = T.match_buffer(var_out, (1, heads, value_dim), "float32")
        for h in T.thread_binding(heads, "blockIdx.x"):
            for block in T.thread_binding((value_dim + _STEP_COLUMNS - 1) // _STEP_COLUMNS, "blockIdx.y"):
                for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                    with T.sblock("step"):
                        T.reads()
                        T.writes()
                        sums = T.sblock_alloc_buffer((parts, _STEP_COLUMNS), "float32", scope="shared")
                        number = T.sblock_alloc_buffer((4,), "float32", scope="local")
                        at = T.sblock_alloc_buffer((2,), "int32", scope="local")
                        at[0] = T.Cast("int32", block * _STEP_COLUMNS + thread % _STEP_COLUMNS)  # the column
                        number[0] = T.float32(0)  # the sum
                        number[1] = T.exp(decay[0, h])
                        if at[0] < value_dim:
                            for turn in T.serial((key_dim + parts - 1) // parts):
                                at[1] = T.Cast("int32", turn * parts + thread // _STEP_COLUMNS)  # the row
                                if at[1] < key_dim:
                                    number[0] = (
                                        number[0]
                                        + state[h * key_dim + at[1], at[0]] * qk[0, key_heads + h // share, at[1]]
                                    )
                        sums[thread // _STEP_COLUMNS, thread % _STEP_COLUMNS] = number[0]
                        T.tvm_storage_sync("shared")
                        number[0] = T.float32(0)
                        for part in T.serial(parts):
                            number[0] = number[0] + sums[part, thread % _STEP_COLUMNS]
                        T.tvm_storage_sync("shared")
                        number[2] = T.float32(0)
                        if at[0] < value_dim:
                            number[0] = beta[0, h] * (y[0, values + h * value_dim + at[0]] - number[1] * number[0])
                            for turn in T.serial((key_dim + parts - 1) // parts):
                                at[1] = T.Cast("int32", turn * parts + thread // _STEP_COLUMNS)
                                if at[1] < key_dim:
                                    number[3] = (
                                        number[1] * state[h * key_dim + at[1], at[0]]
                                        + qk[0, key_heads + h // share, at[1]] * number[0]
                                    )
                                    state[h * key_dim + at[1], at[0]] = number[3]
                                    number[2] = number[2] + number[3] * qk[0, h // share, at[1]]
                        sums[thread // _STEP_COLUMNS, thread % _STEP_COLUMNS] = number[2]
                        T.tvm_storage_sync("shared")
                        if (thread < _STEP_COLUMNS) and (at[0] < value_dim):
                            number[0] = T.float32(0)
                            for part in T.serial(parts):
                                number[0] = number[0] + sums[part, thread]
                            out[0, h, at[0]] = number[0]

    return delta_rule_step


def systems_kernel(linear: LinearAttention) -> tirx.PrimFunc:
    """The triangular system of each chunk, inverted, and the scores inside the chunk.

    With w_ij = exp(decay_i - decay_j), L_ij = beta_i w_ij k_i·k_j below the diagonal and A_ij = w_ij q_i·k_j up to it:
    (I + L)⁻¹ and A, each (N, H, C, C). The inverse is found by forward substitution, a thread for each column.
    """
    heads, share = linear.num_value_heads, linear.value_heads_per_key_head
    key_heads, key_dim = linear.num_key_heads, linear.key_head_dim

    def row(turn: tirx.Expr, thread: tirx.Expr) -> tirx.Expr:
        return (turn * _SYSTEM_THREADS + thread) // CHUNK

    def column(turn: tirx.Expr, thread: tirx.Expr) -> tirx.Expr:
        return (turn * _SYSTEM_THREADS + thread) % CHUNK

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def delta_rule_systems(
        var_qk: T.handle, var_beta: T.handle, var_decay: T.handle, var_inverse: T.handle, var_scores: T.handle
    ) -> None:
        T.func_attr({"op_pattern": 8, "tirx.noalias": True, "tirx.is_scheduled": True})
        length, chunks = T.int64(), T.int64()
        qk = T.match_buffer(var_qk, (length, 2 * key_heads, key_dim), "float32")
        beta = T.match_buffer(var_beta, (length, heads), "float32")
        decay = T.match_buffer(var_decay, (length, heads), "float32")
        inverse = T.match_buffer(var_inverse, (chunks, heads, CHUNK, CHUNK), "float32")
        scores = T.match_buffer(var_scores, (chunks, heads, CHUNK, CHUNK), "float32")
        for h in T.thread_binding(heads, "blockIdx.x"):
            for n in T.thread_binding(chunks, "blockIdx.y"):
                for thread in T.thread_binding(_SYSTEM_THREADS, "threadIdx.x"):
                    with T.sblock("systems"):
                        T.reads()
                        T.writes()
                        lower = T.sblock_alloc_buffer((CHUNK, CHUNK), "float32", scope="shared")
                        solved = T.sblock_alloc_buffer((CHUNK,), "float32", scope="local")
                        number = T.sblock_alloc_buffer((3,), "float32", scope="local")
                        for turn in T.serial(CHUNK * CHUNK // _SYSTEM_THREADS):
                            number[0] = T.float32(0)
                            number[1] = T.float32(0)
                            if (column(turn, thread) <= row(turn, thread)) and (n * CHUNK + row(turn, thread) < length):
                                for d in T.serial(key_dim):
                                    number[2] = qk[n * CHUNK + column(turn, thread), key_heads + h // share, d]
                                    number[0] = (
                                        number[0]
                                        + qk[n * CHUNK + row(turn, thread), key_heads + h // share, d] * number[2]
                                    )
                                    number[1] = number[1] + qk[n * CHUNK + row(turn, thread), h // share, d] * number[2]
                                number[2] = T.exp(
                                    decay[n * CHUNK + row(turn, thread), h] - decay[n * CHUNK + column(turn, thread), h]
                                )
                                number[0] = number[0] * number[2] * beta[n * CHUNK + row(turn, thread), h]
                                number[1] = number[1] * number[2]
                            lower[row(turn, thread), column(turn, thread)] = number[0]
                            scores[n, h, row(turn, thread), column(turn, thread)] = number[1]
                        T.tvm_storage_sync("shared")
                        if thread < CHUNK:
                            for i in T.serial(CHUNK):
                                number[0] = T.Select(i == thread, T.float32(1), T.float32(0))
                                for j in T.serial(i):
                                    number[0] = number[0] - lower[i, j] * solved[j]
                                solved[i] = number[0]
                                inverse[n, h, i, thread] = number[0]

    return delta_rule_systems


def scan_kernel(linear: LinearAttention) -> tirx.PrimFunc:
    """Carries the state S through the chunks: U = (I + L)⁻¹ beta (V - exp(decay) K S), then the outputs and the new S.

    A workgroup owns some columns of a head's state, which never mix.
    """
    heads, share = linear.num_value_heads, linear.value_heads_per_key_head
    key_heads, key_dim, value_dim = linear.num_key_heads, linear.key_head_dim, linear.value_head_dim
    channels, values = linear.conv_channels, linear.first_value_channel
    turns = CHUNK * _COLUMNS // _THREADS
    state_turns = (key_dim * _COLUMNS + _THREADS - 1) // _THREADS

    def row(turn: tirx.Expr, thread: tirx.Expr) -> tirx.Expr:
        return turn * (_THREADS // _COLUMNS) + thread // _COLUMNS

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def delta_rule_scan(
        var_qk: T.handle,
        var_y: T.handle,
        var_beta: T.handle,
        var_decay: T.handle,
        var_inverse: T.handle,
        var_scores: T.handle,
        var_state: T.handle,
        var_out: T.handle,
    ) -> None:
        T.func_attr({"op_pattern": 8, "tirx.noalias": True, "tirx.is_scheduled": True})
        length, chunks = T.int64(), T.int64()
        qk = T.match_buffer(var_qk, (length, 2 * key_heads, key_dim), "float32")
        y = T.match_buffer(var_y, (length, channels), "float32")
        beta = T.match_buffer(var_beta, (length, heads), "float32")
        decay = T.match_buffer(var_decay, (length, heads), "float32")
        inverse = T.match_buffer(var_inverse, (chunks, heads, CHUNK, CHUNK), "float32")
        scores = T.match_buffer(var_scores, (chunks, heads, CHUNK, CHUNK), "float32")
        state = T.match_buffer(var_state, (heads * key_dim, value_dim), "float32")
        out = T.match_buffer(var_out, (length, heads, value_dim), "float32")
        for h in T.thread_binding(heads, "blockIdx.x"):
            for block in T.thread_binding((value_dim + _COLUMNS - 1) // _COLUMNS, "blockIdx.y"):
                for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                    with T.sblock("scan"):
                        T.reads()
                        T.writes()
                        carried = T.sblock_alloc_buffer((key_dim, _COLUMNS), "float32", scope="shared")
                        left = T.sblock_alloc_buffer((CHUNK, _COLUMNS), "float32", scope="shared")
                        update = T.sblock_alloc_buffer((CHUNK, _COLUMNS), "float32", scope="shared")
                        fade = T.sblock_alloc_buffer((CHUNK,), "float32", scope="shared")
                        read = T.sblock_alloc_buffer((turns,), "float32", scope="local")
                        number = T.sblock_alloc_buffer((3,), "float32", scope="local")
                        for turn in T.serial(state_turns):
                            if row(turn, thread) < key_dim:
                                carried[row(turn, thread), thread % _COLUMNS] = T.float32(0)
                                if block * _COLUMNS + thread % _COLUMNS < value_dim:
                                    carried[row(turn, thread), thread % _COLUMNS] = state[
                                        h * key_dim + row(turn, thread), block * _COLUMNS + thread % _COLUMNS
                                    ]
                        for n in T.serial(chunks):
                            T.tvm_storage_sync("shared")
                            if thread < CHUNK:
                                fade[thread] = T.float32(0)
                                if n * CHUNK + thread < length:
                                    fade[thread] = T.exp(
                                        decay[T.min(n * CHUNK + CHUNK, length) - 1, h] - decay[n * CHUNK + thread, h]
                                    )
                            for turn in T.unroll(turns):
                                number[0] = T.float32(0)
                                number[1] = T.float32(0)
                                if (block * _COLUMNS + thread % _COLUMNS < value_dim) and (
                                    n * CHUNK + row(turn, thread) < length
                                ):
                                    for d in T.serial(key_dim):
                                        number[0] = (
                                            number[0]
                                            + qk[n * CHUNK + row(turn, thread), key_heads + h // share, d]
                                            * carried[d, thread % _COLUMNS]
                                        )
                                        number[1] = (
                                            number[1]
                                            + qk[n * CHUNK + row(turn, thread), h // share, d]
                                            * carried[d, thread % _COLUMNS]
                                        )
                                    number[2] = T.exp(decay[n * CHUNK + row(turn, thread), h])
                                    number[0] = beta[n * CHUNK + row(turn, thread), h] * (
                                        y[
                                            n * CHUNK + row(turn, thread),
                                            values + h * value_dim + block * _COLUMNS + thread % _COLUMNS,
                                        ]
                                        - number[2] * number[0]
                                    )
                                    number[1] = number[1] * number[2]
                                left[row(turn, thread), thread % _COLUMNS] = number[0]
                                read[turn] = number[1]
                            T.tvm_storage_sync("shared")
                            for turn in T.unroll(turns):
                                number[0] = T.float32(0)
                                for j in T.serial(CHUNK):
                                    number[0] = (
                                        number[0] + inverse[n, h, row(turn, thread), j] * left[j, thread % _COLUMNS]
                                    )
                                update[row(turn, thread), thread % _COLUMNS] = number[0]
                            T.tvm_storage_sync("shared")
                            for turn in T.unroll(turns):
                                if (block * _COLUMNS + thread % _COLUMNS < value_dim) and (
                                    n * CHUNK + row(turn, thread) < length
                                ):
                                    number[0] = read[turn]
                                    for j in T.serial(CHUNK):
                                        number[0] = (
                                            number[0]
                                            + scores[n, h, row(turn, thread), j] * update[j, thread % _COLUMNS]
                                        )
                                    out[n * CHUNK + row(turn, thread), h, block * _COLUMNS + thread % _COLUMNS] = (
                                        number[0]
                                    )
                            number[1] = T.exp(decay[T.min(n * CHUNK + CHUNK, length) - 1, h])
                            for turn in T.serial(state_turns):
                                if row(turn, thread) < key_dim:
                                    number[0] = number[1] * carried[row(turn, thread), thread % _COLUMNS]
                                    for j in T.serial(CHUNK):
                                        if n * CHUNK + j < length:
                                            number[0] = (
                                                number[0]
                                                + qk[n * CHUNK + j, key_heads + h // share, row(turn, thread)]
                                                * fade[j]
                                                * update[j, thread % _COLUMNS]
                                            )
                                    carried[row(turn, thread), thread % _COLUMNS] = number[0]
                        for turn in T.serial(state_turns):
                            if (row(turn, thread) < key_dim) and (block * _COLUMNS + thread % _COLUMNS < value_dim):
                                state[h * key_dim + row(turn, thread), block * _COLUMNS + thread % _COLUMNS] = carried[
                                    row(turn, thread), thread % _COLUMNS
                                ]

    return delta_rule_scan
