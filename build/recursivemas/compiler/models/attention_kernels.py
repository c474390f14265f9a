"""Sine and cosine for RoPE, and the kernel that merges two parts of an attention for models that MLC-LLM defines.

TVM's RoPE uses the GPU's sine and cosine, for which WGSL promises an absolute error of 2 ** -11 within [-pi, pi] and
nothing beyond. Ours are exact to float32 rounding.

In TVM's `merge_state_inplace`, all threads of a head read its log-sum-exp while the first of them to finish already
overwrites it. Unless a workgroup runs in lockstep, a prefill after earlier positions attends wrongly. The kernel also
skips heads if their number does not divide evenly. In our kernel, which has the signature of TVM
0.27's, one thread owns a head.
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
SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2, -0.5, 1.0)


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
    sine = near + near * square * polynomial(square, *SINE)
    cosine = polynomial(square, *COSINE)
    quadrant = tirx.bitwise_and(quarters.astype("int32"), 3)
    swapped = quadrant % 2 == 1
    one, minus = tirx.const(1.0, "float32"), tirx.const(-1.0, "float32")
    sign_of_sine = tirx.Select(quadrant >= 2, minus, one)
    sign_of_cosine = tirx.Select(tirx.any(quadrant == 1, quadrant == 2), minus, one)
    return tirx.Select(swapped, cosine, sine) * sign_of_sine, tirx.Select(swapped, sine, cosine) * sign_of_cosine


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
