"""The layers that models are written with: Linear and Embedding, plain or packed into 4 bits.

Source: MLC's group quantization, NK layout: eight 4-bit values per uint32 along the input axis, one scale per 32
values.
Deviation: products of matrices are summed in float32 whatever the model dtype (MLC sums in the model dtype), because
sums of thousands of float16 terms would lose the precision that hidden states are handed over for.

Shape letters: N rows of a weight, K columns.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tvm import relax, te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op

from recursivemas.compiler.kernels.decode_product import decode_product
from recursivemas.compiler.kernels.product import Gate, Product
from recursivemas.compiler.kernels.tile_product import tile_product
from recursivemas.compiler.limits import rows_of_parts
from recursivemas.system.quantize import GROUP_SIZE, MAX_INT, PER_WORD, quantized_shapes

_BITS = 32 // PER_WORD


class _Matrix(nn.Module):
    """Has an (N, K) weight that the ``q4*`` schemes pack."""

    def __init__(self, rows: int, columns: int) -> None:
        self.shape = (rows, columns)
        self.weight = nn.Parameter((rows, columns))
        self.weight.attrs["quantize"] = True

    def table(self) -> Tensor:
        """The (N, K) weight in the model dtype."""
        return self.weight

    def stored(self) -> list[Tensor]:
        """What the weight is stored as."""
        return [self.weight]

    def product(
        self,
        x: Tensor,
        *,
        norm: "Norm | None" = None,
        bias: Tensor | None = None,
        gate: Gate | None = None,
        residual: Tensor | None = None,
        out_dtype: str = "float32",
    ) -> Tensor:
        """f(norm(x) Wᵀ + bias) + residual as one kernel; see `kernels/product.py`.

        Args:
            x: (1, T, K) or (T, K).
            norm: An RMSNorm of x.
            bias: (N,).
            gate: Multiplies the second half of the result by the activation of the first.
            residual: Of the result's shape.
            out_dtype: Of the result.

        Returns:
            (1, T, N) or (T, N); half as wide with a gate.
        """
        rows, columns = self.shape
        product = Product(
            rows=rows,
            columns=columns,
            dtype=x.dtype,
            packed=len(self.stored()) > 1,
            out_dtype=out_dtype,
            eps=None if norm is None else norm.eps,
            zero_centred=norm is not None and norm.zero_centred,
            bias=bias is not None,
            gate=gate,
            residual=residual is not None,
            batched=len(x.shape) == 3,
        )
        given = [x, norm and norm.weight, *self.stored(), bias, residual]
        one = x.shape[-2] == 1
        kernel, name = (decode_product, "decode_product") if one else (tile_product, "tile_product")
        output = Tensor.placeholder([*x.shape[:-1], product.outputs], out_dtype)
        return op.tensor_ir_op(kernel(product), name, [each for each in given if each is not None], output)


class Linear(_Matrix):
    """y = x Wᵀ + b, as `torch.nn.Linear`."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__(out_features, in_features)
        self.bias = nn.Parameter((out_features,)) if bias else None

    def forward(
        self, x: Tensor, *, norm: "Norm | None" = None, gate: Gate | None = None, residual: Tensor | None = None
    ) -> Tensor:
        """(1, T, K) to (1, T, N), in the dtype of `x`; see `product`."""
        return self.product(x, norm=norm, bias=self.bias, gate=gate, residual=residual, out_dtype=x.dtype)


class FusedLinear(Linear):
    """Several projections of the same input as one product; the checkpoint stores each of them on its own."""

    def __init__(self, in_features: int, parts: Mapping[str, int], *, bias: bool = False) -> None:
        """Stacks the projections' weights and biases.

        Args:
            in_features: Width of the input.
            parts: Output width of each projection by its name in the checkpoint, in order.
            bias: Whether the projections have biases.
        """
        super().__init__(in_features, sum(parts.values()), bias=bias)
        for parameter in filter(None, (self.weight, self.bias)):
            parameter.attrs["parts"] = dict(parts)


class Head(Linear):
    """An output layer; it is stored in parts if it is too large."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.weight.attrs["table"] = True


class Embedding(_Matrix):
    """A table of N input embeddings; a tied output layer calls `product`. It is stored in parts if it is too large."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(rows, columns)
        self.weight.attrs["table"] = True

    def forward(self, ids: Tensor) -> Tensor:
        """(T,) int32 to (T, K). An id beyond the table reads its last row."""
        return op.wrap_nested(relax.op.take(self.table()._expr, ids._expr, axis=0, mode="clip"), "take")


class TableParts(nn.Module):
    """A table whose rows are divided among several buffers, in the place of an `Embedding` or a `Head`."""

    def __init__(self, rows: Sequence[int], columns: int) -> None:
        self.parts = nn.ModuleList([Embedding(each, columns) for each in rows])

    def forward(self, ids: Tensor) -> Tensor:
        """(T,) int32 to (T, K), as `Embedding`. Each part has a kernel of its own, so that few buffers are bound."""
        found: list[Tensor] = []
        first = 0
        for part in self.parts:
            look_up = partial(_look_up, first=first, rows=part.shape[0], columns=part.shape[1])
            opaque = {"op_pattern": 8}
            found = [op.tensor_expr_op(look_up, "look_up_part", [ids, *found, *part.stored()], attrs=opaque)]
            first += part.shape[0]
        return found[0]

    def product(self, x: Tensor) -> Tensor:
        """x Wᵀ, (T, K) to (T, N) float32; see `_Matrix.product`."""
        return op.concat([part.product(x) for part in self.parts], dim=-1)


def _look_up(ids: te.Tensor, *given: te.Tensor, first: int, rows: int, columns: int) -> te.Tensor:
    """Rows of the part that begins at row `first`; ids before it keep the row that an earlier part gave."""
    earlier, stored = (given[:1], given[1:]) if first else ((), given)
    value = stored[0] if len(stored) == 1 else dequantize(stored[0], stored[1], columns)

    def pick(t: tirx.Var, column: tirx.Var) -> tirx.Expr:
        row = tirx.max(tirx.min(ids[t] - first, rows - 1), 0)
        if not earlier:
            return value[row, column]
        return tirx.if_then_else(ids[t] >= first, value[row, column], earlier[0][t, column])

    return te.compute((ids.shape[0], tirx.IntImm("int64", columns)), pick, name="look_up_part")


class Float32Parameter(nn.Parameter):
    """A parameter that stays float32 whatever the model dtype."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape, "float32")
        self.attrs["dtype"] = "float32"

    def to(self, dtype: str | None = None) -> None:
        """Does nothing."""


class Norm(nn.Module):
    """RMSNorm over the last axis, in float32 and rounded once; products compute it on the way."""

    zero_centred = False
    """Whether it multiplies by 1 + weight."""

    def __init__(self, size: int, eps: float) -> None:
        self.weight = nn.Parameter((size,))
        self.eps = eps

    def forward(self, x: Tensor, *, residual: Tensor | None = None) -> Tensor:
        """norm(x) + residual, (..., size) to the same shape and dtype."""
        one = 1.0 if self.zero_centred else 0.0

        def norm(x: te.Tensor, weight: te.Tensor, *added: te.Tensor) -> te.Tensor:
            mean = mean_of_squares(x)

            def value(*at: tirx.Var) -> tirx.Expr:
                scale = tirx.rsqrt(mean[at[:-1]] + tirx.const(self.eps, "float32"))
                scale = scale * (tirx.const(one, "float32") + weight[at[-1]].astype("float32"))
                value = x[at].astype("float32") * scale
                for each in added:
                    value = value + each[at].astype("float32")
                return value.astype(x.dtype)

            return te.compute(x.shape, value, name="rms_norm")

        return op.tensor_expr_op(norm, "rms_norm", [x, self.weight, *([] if residual is None else [residual])])


class ZeroCentredNorm(Norm):
    """RMSNorm, times 1 + weight."""

    zero_centred = True


def mean_of_squares(x: te.Tensor) -> te.Tensor:
    """Over the last axis, in float32: (..., size) to (...)."""
    k = te.reduce_axis((0, x.shape[-1]), "k")

    def square(*at: tirx.Var) -> tirx.Expr:
        value = x[(*at, k)].astype("float32")
        return te.sum(value * value, axis=k)

    total = te.compute(x.shape[:-1], square, name="squares")
    size = tirx.const(float(int(x.shape[-1])), "float32")
    return te.compute(x.shape[:-1], lambda *at: total[at] / size, name="mean_of_squares")


class _Quantized(_Matrix):
    """Stores its weight as `q_weight` and `q_scale` and dequantizes it in every use.

    `FuseDequantize` puts that into the kernel that uses the weight, so the dequantized weight is never stored.
    """

    def pack(self, weight: nn.Parameter) -> None:
        """Declares `q_weight` and `q_scale` in place of a weight."""
        rows, columns = weight.shape
        self.shape = (int(rows), int(columns))
        weight_shape, scale_shape = quantized_shapes(tuple(weight.shape))
        self.q_weight = nn.Parameter(weight_shape, "uint32")
        self.q_scale = nn.Parameter(scale_shape, weight.dtype)

    def stored(self) -> list[Tensor]:
        """The packed values and their scales."""
        return [self.q_weight, self.q_scale]

    def table(self) -> Tensor:
        """The (N, K) weight in the model dtype."""
        return op.tensor_expr_op(dequantize, "dequantize", [self.q_weight, self.q_scale, self.shape[1]])


class QuantizedLinear(_Quantized, Linear):
    """A Linear with a packed weight."""

    def __init__(self, linear: Linear) -> None:
        self.pack(linear.weight)
        self.bias = linear.bias


class QuantizedEmbedding(_Quantized, Embedding):
    """An Embedding with a packed table."""

    def __init__(self, embedding: Embedding) -> None:
        self.pack(embedding.weight)


class _Quantizer(nn.Mutator):
    def visit_module(self, name: str, node: nn.Module) -> nn.Module:
        if isinstance(node, Linear):
            return QuantizedLinear(node)
        if isinstance(node, Embedding):
            return QuantizedEmbedding(node)
        return super().visit_module(name, node)


class _Divider(nn.Mutator):
    def __init__(self, row_bytes: Callable[[int], int]) -> None:
        self._row_bytes = row_bytes

    def visit_module(self, name: str, node: nn.Module) -> nn.Module:
        if isinstance(node, Embedding | Head):
            rows, columns = node.shape
            parts = rows_of_parts(rows, self._row_bytes(columns))
            return TableParts(parts, columns) if len(parts) > 1 else node
        return super().visit_module(name, node)


def divide_tables(model: nn.Module, row_bytes: Callable[[int], int]) -> None:
    """Replaces tables that are too large for a buffer that every device binds; comes before `quantize`.

    Args:
        model: As `make_model` makes it.
        row_bytes: Bytes that the largest stored tensor has for a row of so many columns.
    """
    _Divider(row_bytes).visit("", model)


def quantize(model: nn.Module) -> None:
    """Replaces every Linear and Embedding of a model by its packed form; parameters keep their order."""
    _Quantizer().visit("", model)


def dequantize(q_weight: te.Tensor, q_scale: te.Tensor, columns: int) -> te.Tensor:
    """(q - 7) * scale.

    Args:
        q_weight: (N, words) uint32.
        q_scale: (N, groups) in the model dtype.
        columns: K, which need not be a multiple of the group size.

    Returns:
        (N, K) in the model dtype.
    """
    dtype = str(q_scale.dtype)

    def value(row: tirx.Var, column: tirx.Var) -> tirx.Expr:
        shift = (column % PER_WORD * _BITS).astype("uint32")
        level = tirx.bitwise_and(
            tirx.shift_right(q_weight[row, column // PER_WORD], shift), tirx.const((1 << _BITS) - 1, "uint32")
        )
        return (level.astype(dtype) - tirx.const(MAX_INT, dtype)) * q_scale[row, column // GROUP_SIZE]

    return te.compute((q_weight.shape[0], tirx.IntImm("int64", columns)), value, name="dequantize")
