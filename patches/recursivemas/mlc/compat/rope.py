"""RoPE inside the KV cache, from a table of frequencies instead of powers and cosines of large angles on the GPU.

Source: transformers' `modeling_rope_utils` for the frequencies, RoFormer's equation 34 for the rotation. TVM's kernel
raises theta to a power for every element, for which WGSL promises little precision, and its `yarn` blends by the index
of the element instead of the pair. The cache passes the table to the kernel in place of LongRoPE's factors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax, tirx
from tvm.script import tirx as T  # noqa: N812

from recursivemas.compiler.models.attention_kernels import sine_and_cosine
from recursivemas.compiler.models.config import Llama3Scaling

_KERNEL = "tir_split_rotary"


@dataclass(frozen=True)
class RopeTable:
    """How a cache rotates queries and keys.

    Attributes:
        frequencies: (rotary_dim / 2,) float32, radians per position of each pair.
        factor: Multiplies rotated queries and keys (YaRN's attention factor).
        interleaved: Whether neighbours form a pair; otherwise the two halves of a head do.
    """

    frequencies: NDArray[np.float32]
    factor: float
    interleaved: bool


def table(
    theta: float, scale: float, rotary_dim: int, scaling: Mapping[str, Any] | None, *, interleaved: bool
) -> RopeTable | None:
    """Computes the frequencies of one kind of RoPE.

    Args:
        theta: The base.
        scale: Multiplies positions.
        rotary_dim: Width of the part of a head that is rotated.
        scaling: As in `config.json`, or None.
        interleaved: Rotate neighbouring pairs even if `scaling` does not say so.

    Returns:
        None for a kind that only TVM's own kernel computes.
    """
    scaling = scaling or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    exponent = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    plain = np.asarray(np.float32(scale) / np.power(np.float32(theta), exponent), np.float32)
    if kind in ("default", "gptj"):
        return RopeTable(plain, 1.0, interleaved or kind == "gptj")
    if kind == "llama3":
        stretched = Llama3Scaling(
            float(scaling["factor"]),
            float(scaling["low_freq_factor"]),
            float(scaling["high_freq_factor"]),
            int(scaling["original_max_position_embeddings"]),
        ).stretch(plain)
        return RopeTable(stretched, 1.0, interleaved)
    if kind == "yarn":
        return RopeTable(_yarn(plain, theta, rotary_dim, scaling), yarn_factor(scaling), interleaved)
    return None


def install(
    builder: relax.BlockBuilder, rope: RopeTable, q_heads: int, kv_heads: int, head_dim: int, dtype: str
) -> None:
    """Replaces the RoPE kernel of the cache that was just built in the same module."""
    kernel = builder.get().get_global_var(_KERNEL)
    builder.update_func(kernel, split_rotary(rope, q_heads, kv_heads, head_dim, dtype))


def _yarn(plain: NDArray[np.float32], theta: float, rotary_dim: int, scaling: Mapping[str, Any]) -> NDArray[np.float32]:
    original = float(scaling["original_max_position_embeddings"])

    def pair_with(turns: float) -> float:
        return rotary_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = pair_with(scaling.get("beta_fast") or 32), pair_with(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rotary_dim - 1)
    width = last - first or 0.001
    ramp = np.clip((np.arange(rotary_dim // 2, dtype=np.float32) - np.float32(first)) / np.float32(width), 0, 1)
    return np.asarray(plain / np.float32(scaling["factor"]) * ramp + plain * (1 - ramp), np.float32)


def yarn_factor(scaling: Mapping[str, Any]) -> float:
    """YaRN's factor on queries and keys, as given or derived from `factor` and the two magnitudes."""
    if scaling.get("attention_factor") is not None:
        return float(scaling["attention_factor"])
    factor, above, below = float(scaling["factor"]), scaling.get("mscale"), scaling.get("mscale_all_dim")

    def magnitude(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    return magnitude(above) / magnitude(below) if above and below else magnitude(1.0)


def turn(position: tirx.Expr, frequency: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
    """Sine and cosine of position * frequency, exact to float32's rounding; WGSL's own are exact to 2 ** -11 only."""
    return sine_and_cosine(position.astype("float32") * frequency)


def split_rotary(rope: RopeTable, q_heads: int, kv_heads: int, head_dim: int, dtype: str) -> tirx.PrimFunc:
    """The kernel that splits the fused projection into queries, keys and values and rotates the first two."""
    pairs = len(rope.frequencies)
    heads, keys_end = q_heads + 2 * kv_heads, q_heads + kv_heads
    interleaved = rope.interleaved
    factor = tirx.const(rope.factor, "float32")

    def turned(x: T.Buffer, t: tirx.Var, h: tirx.Var, d: tirx.Var, by: tuple[tirx.Expr, tirx.Expr]) -> tirx.Expr:
        if interleaved:
            other = tirx.if_then_else(d % 2 == 0, -x[t, h, d + 1], x[t, h, d - 1])
        else:
            other = tirx.if_then_else(d < pairs, -x[t, h, d + pairs], x[t, h, d - pairs])
        sine, cosine = by
        value = x[t, h, d].astype("float32") * cosine + other.astype("float32") * sine
        return (value * factor).astype(dtype)

    def pair(d: tirx.Var) -> tirx.Expr:
        return d // 2 if interleaved else d % pairs

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def kernel(
        var_qkv: T.handle,
        var_positions: T.handle,
        var_q: T.handle,
        var_k: T.handle,
        var_v: T.handle,
        var_frequencies: T.handle,
    ) -> None:
        T.func_attr({"op_pattern": 8, "tirx.noalias": True})
        length = T.int32()
        positions_offset = T.int32()
        qkv = T.match_buffer(var_qkv, (length, heads, head_dim), dtype)
        positions = T.match_buffer(var_positions, (length,), "int32", elem_offset=positions_offset)
        q = T.match_buffer(var_q, (length, q_heads, head_dim), dtype)
        k = T.match_buffer(var_k, (length, kv_heads, head_dim), dtype)
        v = T.match_buffer(var_v, (length, kv_heads, head_dim), dtype)
        frequencies = T.match_buffer(var_frequencies, (pairs,), "float32")
        for t, h, d in T.grid(length, heads, head_dim):
            with T.sblock("split_rotary"):
                vt, vh, vd = T.axis.remap("SSS", [t, h, d])
                if vh < q_heads:
                    if vd < pairs * 2:
                        q[vt, vh, vd] = turned(qkv, vt, vh, vd, turn(positions[vt], frequencies[pair(vd)]))
                    else:
                        q[vt, vh, vd] = qkv[vt, vh, vd]
                elif vh < keys_end:
                    if vd < pairs * 2:
                        k[vt, vh - q_heads, vd] = turned(qkv, vt, vh, vd, turn(positions[vt], frequencies[pair(vd)]))
                    else:
                        k[vt, vh - q_heads, vd] = qkv[vt, vh, vd]
                else:
                    v[vt, vh - keys_end, vd] = qkv[vt, vh, vd]

    return kernel
