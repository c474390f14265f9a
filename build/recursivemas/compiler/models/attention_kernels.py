"""Two kernels of the KV cache that replace TVM's: RoPE, and merging two parts of an attention.

Source: TVM 0.27's kernels, whose signatures they have.

TVM's RoPE raises theta to a power on the GPU and uses the GPU's sine and cosine, for which WGSL promises an absolute
error of 2 ** -11 within [-pi, pi] and nothing beyond. Our kernel takes each pair's frequency, computed on the host, and
has its own sine and cosine, exact to float32 rounding.

In TVM's `merge_state_inplace`, all threads of a head read its log-sum-exp while the first of them to finish already
overwrites it. Unless a workgroup runs in lockstep, a prefill after earlier positions attends wrongly. The kernel also
skips heads if their number does not divide evenly. In our kernel one thread owns a head.
"""

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812

MERGE = "tir_attention_merge_state"
_THREADS = 256

# pi / 2 in four parts. The first three have few enough bits that their products with whole numbers below 2 ** 13 are
# exact in float32, and few enough decimal digits to survive TVM, which prints constants with seven.
_QUARTER_TURN = (1.5625, 7.8125e-3, 4.837512969970703125e-4, 7.549789948768648e-8)
QUARTERS_PER_RADIAN = 0.6366197723675814
# Polynomials in r * r for |r| <= pi / 4, highest power first: (sin(r) - r) / r ** 3 and cos(r).
_SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2, -0.5, 1.0)


def polynomial(x: tirx.Expr, *coefficients: float) -> tirx.Expr:
    """A polynomial in float32 by Horner's scheme; coefficients of the highest power come first."""
    value = tirx.const(coefficients[0], "float32")
    for coefficient in coefficients[1:]:
        value = value * x + tirx.const(coefficient, "float32")
    return value


def less_quarter_turns(angle: tirx.Expr, quarters: tirx.Expr) -> tirx.Expr:
    """`angle` - `quarters` * pi / 2, exact to float32's rounding for up to 2 ** 13 quarters."""
    for part in _QUARTER_TURN:
        angle = angle - quarters * tirx.const(part, "float32")
    return angle


def sine_and_cosine(angle: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
    """Sine and cosine of a float32 angle of at most 2 ** 13 quarter turns, exact to float32's rounding.

    Source: Cephes's `sinf` and `cosf`.
    """
    quarters = tirx.round(angle * tirx.const(QUARTERS_PER_RADIAN, "float32"))
    near = less_quarter_turns(angle, quarters)
    square = near * near
    sine = near + near * square * polynomial(square, *_SINE)
    cosine = polynomial(square, *_COSINE)
    quadrant = tirx.bitwise_and(quarters.astype("int32"), 3)
    swapped = quadrant % 2 == 1
    one, minus = tirx.const(1.0, "float32"), tirx.const(-1.0, "float32")
    sign_of_sine = tirx.Select(quadrant >= 2, minus, one)
    sign_of_cosine = tirx.Select(tirx.any(quadrant == 1, quadrant == 2), minus, one)
    return tirx.Select(swapped, cosine, sine) * sign_of_sine, tirx.Select(swapped, sine, cosine) * sign_of_cosine


def split_rotary_kernel(q_heads: int, kv_heads: int, head_dim: int, dtype: str, rotary_dim: int) -> tirx.PrimFunc:
    """The kernel that splits the fused projection into queries, keys and values and rotates the first two.

    Source: RoFormer, equation 34, with the halves of a head paired as in transformers' `rotate_half`; sine and cosine
    are Cephes's `sinf` and `cosf`.

    Args:
        q_heads: Query heads.
        kv_heads: Key (or value) heads.
        head_dim: Width of a head.
        dtype: Of queries, keys and values.
        rotary_dim: How many of a head's first values are rotated.
    """
    half = head_dim // 2
    pairs = rotary_dim // 2
    heads = q_heads + 2 * kv_heads

    def first(d: tirx.Expr) -> tirx.Expr:
        """Where pair `d` of a head begins; after the rotated pairs come pairs of values that stay."""
        return d if pairs == half else d + tirx.Select(d < pairs, 0, pairs)

    def second(d: tirx.Expr) -> tirx.Expr:
        """The other value of pair `d`."""
        return d + half if pairs == half else d + tirx.Select(d < pairs, pairs, half)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def split_rotary(
        var_qkv: T.handle,
        var_positions: T.handle,
        var_q: T.handle,
        var_k: T.handle,
        var_v: T.handle,
        var_frequencies: T.handle,
    ) -> None:
        T.func_attr({"op_pattern": 8, "tirx.noalias": True, "tirx.is_scheduled": True})
        length = T.int32()
        positions_offset = T.int32()
        qkv = T.match_buffer(var_qkv, (length, heads, head_dim), dtype)
        positions = T.match_buffer(var_positions, (length,), "int32", elem_offset=positions_offset)
        q = T.match_buffer(var_q, (length, q_heads, head_dim), dtype)
        k = T.match_buffer(var_k, (length, kv_heads, head_dim), dtype)
        v = T.match_buffer(var_v, (length, kv_heads, head_dim), dtype)
        frequencies = T.match_buffer(var_frequencies, (pairs,), "float32")
        for group in T.thread_binding((length * heads * half + _THREADS - 1) // _THREADS, "blockIdx.x"):
            for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                with T.sblock("split_rotary"):
                    T.where(group * _THREADS + thread < length * heads * half)
                    t = T.axis.spatial(length, (group * _THREADS + thread) // (heads * half))
                    h = T.axis.spatial(heads, (group * _THREADS + thread) // half % heads)
                    d = T.axis.spatial(half, (group * _THREADS + thread) % half)
                    # Local memory, because TVM would repeat a let's expression at every use.
                    angle = T.sblock_alloc_buffer((2,), "float32", scope="local")
                    near = T.sblock_alloc_buffer((2,), "float32", scope="local")
                    turn = T.sblock_alloc_buffer((2,), "float32", scope="local")
                    quadrant = T.sblock_alloc_buffer((1,), "int32", scope="local")
                    pair = T.sblock_alloc_buffer((2,), "float32", scope="local")
                    pair[0] = T.Cast("float32", qkv[t, h, first(d)])
                    pair[1] = T.Cast("float32", qkv[t, h, second(d)])
                    if (h < q_heads + kv_heads) and (d < pairs):
                        angle[0] = T.Cast("float32", positions[t]) * frequencies[d]
                        angle[1] = T.round(angle[0] * T.float32(QUARTERS_PER_RADIAN))
                        quadrant[0] = T.bitwise_and(T.Cast("int32", angle[1]), 3)
                        angle[0] = less_quarter_turns(angle[0], angle[1])
                        angle[1] = angle[0] * angle[0]
                        near[0] = angle[0] + angle[0] * angle[1] * polynomial(angle[1], *_SINE)
                        near[1] = polynomial(angle[1], *_COSINE)
                        # sin and cos of the whole angle, by its quadrant.
                        turn[0] = T.Select(quadrant[0] % 2 == 0, near[0], near[1])
                        turn[1] = T.Select(quadrant[0] % 2 == 0, near[1], near[0])
                        if quadrant[0] >= 2:
                            turn[0] = -turn[0]
                        if (quadrant[0] == 1) or (quadrant[0] == 2):
                            turn[1] = -turn[1]
                        near[0] = pair[0] * turn[1] - pair[1] * turn[0]
                        near[1] = pair[1] * turn[1] + pair[0] * turn[0]
                        pair[0] = near[0]
                        pair[1] = near[1]
                    if h < q_heads:
                        q[t, h, first(d)] = T.Cast(dtype, pair[0])
                        q[t, h, second(d)] = T.Cast(dtype, pair[1])
                    elif h < q_heads + kv_heads:
                        k[t, h - q_heads, first(d)] = T.Cast(dtype, pair[0])
                        k[t, h - q_heads, second(d)] = T.Cast(dtype, pair[1])
                    else:
                        v[t, h - (q_heads + kv_heads), first(d)] = T.Cast(dtype, pair[0])
                        v[t, h - (q_heads + kv_heads), second(d)] = T.Cast(dtype, pair[1])

    return split_rotary


def merge_state_kernel(dtype: str) -> tirx.PrimFunc:
    """The kernel that merges attention over two sets of positions, in place.

    Source: FlashAttention-2, section 3.1.1: outputs are weighted by their sets' sums of exponentials, which are given
        as
    logarithms to base 2.

    Args:
        dtype: Dtype of the attention outputs.
    """

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def merge_state(var_v: T.handle, var_s: T.handle, var_v_other: T.handle, var_s_other: T.handle) -> None:
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True, "global_symbol": MERGE})
        length, heads, width = T.int32(), T.int32(), T.int32()
        v = T.match_buffer(var_v, (length, heads, width), dtype)
        s = T.match_buffer(var_s, (length, heads), "float32")
        v_other = T.match_buffer(var_v_other, (length, heads, width), dtype)
        s_other = T.match_buffer(var_s_other, (length, heads), "float32")
        for group in T.thread_binding((length * heads + _THREADS - 1) // _THREADS, "blockIdx.x"):
            for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                with T.sblock("merge"):
                    T.where(group * _THREADS + thread < length * heads)
                    n = T.axis.spatial(length, (group * _THREADS + thread) // heads)
                    h = T.axis.spatial(heads, (group * _THREADS + thread) % heads)
                    largest = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    weight = T.sblock_alloc_buffer((3,), "float32", scope="local")
                    largest[0] = T.max(s[n, h], s_other[n, h])
                    weight[0] = T.exp2(s[n, h] - largest[0])
                    weight[1] = T.exp2(s_other[n, h] - largest[0])
                    weight[2] = weight[0] + weight[1]
                    for d in T.serial(width):
                        v[n, h, d] = T.Cast(
                            dtype,
                            (
                                T.Cast("float32", v[n, h, d]) * weight[0]
                                + T.Cast("float32", v_other[n, h, d]) * weight[1]
                            )
                            / weight[2],
                        )
                    s[n, h] = largest[0] + T.log2(weight[2])

    return merge_state
