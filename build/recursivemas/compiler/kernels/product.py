"""What a product of activations and a weight matrix computes beside the product, and how its parts are loaded.

y = f(norm(x) Wᵀ + b) + r: an RMSNorm before, a bias, a gated activation and a residual connection after it are each
optional. Sums and everything after them are float32; the result is rounded once.

The norm needs no pass of its own: (x · g / rms(x)) Wᵀ = (x · g) Wᵀ / rms(x), so the squares of x are summed while x is
loaded for the product.

Shape letters: T positions, K columns of the weight, N its rows.
"""

from dataclasses import dataclass
from typing import Literal

from tvm import tirx

from recursivemas.compiler.kernels import script as ks
from recursivemas.system.quantize import GROUP_SIZE, MAX_INT, PER_WORD

Gate = Literal["silu", "gelu_tanh"]
LIMIT = 80.0
"""exp of a larger number overflows float32 on some GPUs."""
_BITS = 32 // PER_WORD


@dataclass(frozen=True)
class Product:
    """One product; equal products share their kernels.

    Attributes:
        rows: N.
        columns: K.
        dtype: The model dtype: of x, weights or their scales, norm weights, bias and residual.
        packed: Whether the weight has 4 bits a value, as `q_weight` and `q_scale`.
        out_dtype: Of y.
        eps: The RMSNorm's, or None for no norm.
        zero_centred: Whether the norm multiplies by 1 + weight.
        bias: Whether a bias (N,) is added.
        gate: The first half of the rows are gates, the second half what they multiply; y is N / 2 wide then.
        residual: Whether an array of y's shape is added.
        batched: Whether x is (1, T, K), else it is (T, K).
    """

    rows: int
    columns: int
    dtype: str
    packed: bool
    out_dtype: str
    eps: float | None = None
    zero_centred: bool = False
    bias: bool = False
    gate: Gate | None = None
    residual: bool = False
    batched: bool = True

    @property
    def outputs(self) -> int:
        """Width of y."""
        return self.rows // 2 if self.gate else self.rows

    @property
    def groups(self) -> int:
        """Groups of 32 columns; the last one may have fewer."""
        return -(-self.columns // GROUP_SIZE)


class Operands:
    """A product's arguments, in call order: x, norm weight, weight or its packed parts, bias, residual, y."""

    def __init__(self, product: Product, positions: ks.Index) -> None:
        self.product = product
        dtype, lead = product.dtype, (1,) if product.batched else ()
        self.positions = positions
        self._lead = (0,) if product.batched else ()
        self.x = ks.argument("x", (*lead, positions, product.columns), dtype)
        self.gain = ks.argument("gain", (product.columns,), dtype) if product.eps is not None else None
        if product.packed:
            words = product.groups * GROUP_SIZE // PER_WORD
            self.weight = ks.argument("q_weight", (product.rows, words), "uint32")
            self.scale = ks.argument("q_scale", (product.rows, product.groups), dtype)
        else:
            self.weight = ks.argument("weight", (product.rows, product.columns), dtype)
        self.bias = ks.argument("bias", (product.rows,), dtype) if product.bias else None
        self.residual = (
            ks.argument("residual", (*lead, positions, product.outputs), dtype) if product.residual else None
        )
        self.y = ks.argument("y", (*lead, positions, product.outputs), product.out_dtype)

    def x_at(self, t: ks.Index, column: tirx.Expr) -> tirx.Expr:
        """Four columns of a position as float32; zeros beyond the last column."""
        return self._four(self.x, (*self._lead, t), column)

    def weight_at(self, row: ks.Index, column: tirx.Expr) -> tirx.Expr:
        """Four columns of an unpacked weight's row as float32; zeros beyond the last column."""
        return self._four(self.weight, (row,), column)

    def gain_at(self, column: tirx.Expr) -> tirx.Expr:
        """What the norm multiplies four columns by."""
        assert self.gain is not None
        gain = self._four(self.gain, (), column)
        return gain + ks.spread(ks.f32(1.0)) if self.product.zero_centred else gain

    def _four(self, source: tirx.Buffer, lead: tuple[ks.Index, ...], column: tirx.Expr) -> tirx.Expr:
        columns = self.product.columns
        if columns % ks.LANES == 0:
            value = ks.vector(source, *lead, column)
            if columns % GROUP_SIZE == 0:
                return value
            return tirx.if_then_else(column < columns, value, ks.spread(ks.f32(0.0)))
        held = ks.local(ks.LANES)
        for lane in range(ks.LANES):
            at = column + lane
            value = tirx.if_then_else(at < columns, ks.wide(source[(*lead, at)]), ks.f32(0.0))
            ks.store(held, value, lane)
        return ks.vector(held, 0)

    def finish(self, sums: list[tirx.Expr], t: ks.Index, n: tirx.Expr, inverse_rms: tirx.Expr | None) -> None:
        """Stores y[t, n], given the sums of its row, or of its gate's row and its own."""
        product = self.product
        rows = [n, n + product.outputs] if product.gate else [n]
        values = [each * inverse_rms if inverse_rms is not None else each for each in sums]
        if self.bias is not None:
            values = [each + ks.wide(self.bias[row]) for each, row in zip(values, rows, strict=True)]
        if product.gate is None:
            value = values[0]
        else:
            held = ks.local(1)
            ks.store(held, values[0], 0)
            value = activated(held[0], product.gate) * values[1]
        if self.residual is not None:
            value = value + ks.wide(self.residual[(*self._lead, t, n)])
        ks.store(self.y, value.astype(product.out_dtype), *self._lead, t, n)


def levels(word: tirx.Expr, half: int) -> tirx.Expr:
    """Four of a word's eight 4-bit values, less `MAX_INT`, which stands for zero, as float32."""
    shifts = tirx.Ramp(tirx.const(half * ks.LANES * _BITS, "uint32"), tirx.const(_BITS, "uint32"), ks.LANES)
    shifted = tirx.shift_right(ks.spread(word), shifts)
    masked = tirx.bitwise_and(shifted, ks.spread(tirx.const((1 << _BITS) - 1, "uint32")))
    return masked.astype(f"float32x{ks.LANES}") - ks.spread(ks.f32(float(MAX_INT)))


def activated(x: tirx.Expr, gate: Gate) -> tirx.Expr:
    """SiLU, or GELU in its tanh form as x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    exponent = -x
    if gate == "gelu_tanh":
        exponent = ks.f32(-2 * 0.7978845608028654) * (x + ks.f32(0.044715) * x * x * x)
    return x / (ks.f32(1.0) + tirx.exp(tirx.min(exponent, ks.f32(LIMIT))))


def inverse_rms(product: Product, squares: tirx.Expr) -> tirx.Expr:
    """1 / sqrt(mean + eps), given the sum of a position's squares."""
    assert product.eps is not None
    return tirx.rsqrt(squares * ks.f32(1.0 / product.columns) + ks.f32(product.eps))
