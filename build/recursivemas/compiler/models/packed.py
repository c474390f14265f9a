"""Parameters inside a compiled function: one packed tuple, quantized weights turned back into numbers where used.

Source: MLC's group quantization, NK layout: eight 4-bit values per uint32 along the input axis, one scale per 32.
"""

from collections.abc import Sequence

from tvm import relax, te, tirx

from recursivemas.compiler.params import ParamSpec
from recursivemas.compiler.quantize import GROUP_SIZE, MAX_INT, PER_WORD, Scheme
from recursivemas.compiler.weights import stored_tensors

_BITS = 32 // PER_WORD


class PackedParams:
    """Reads parameters by MLC's name from a function's ``packed_params`` argument.

    Attributes:
        var: The argument, to be listed among the function's parameters.
    """

    def __init__(self, builder: relax.BlockBuilder, specs: Sequence[ParamSpec], scheme: Scheme) -> None:
        """Describes the tuple.

        Args:
            builder: The one that the function is being built with.
            specs: In call order.
            scheme: How weights are stored.
        """
        stored = [tensor for spec in specs for tensor in stored_tensors(spec, scheme)]
        self.var = relax.Var(
            "packed_params", relax.TupleType([relax.TensorType(each.shape, each.dtype) for each in stored])
        )
        self._builder = builder
        self._specs = {spec.name: spec for spec in specs}
        self._index = {tensor.name: index for index, tensor in enumerate(stored)}
        self._scheme = scheme

    def __contains__(self, name: str) -> bool:
        return name in self._specs

    def vector(self, name: str) -> relax.Expr:
        """A norm's weight or a bias, in the model dtype."""
        return self._item(name)

    def matrix(self, name: str) -> relax.Expr:
        """An (out, in) weight in the model dtype; dequantized if it is stored quantized."""
        spec = self._specs[name]
        if not (self._scheme.group and spec.quantize):
            return self._item(name)
        stem = name.removesuffix("weight")
        return self._builder.emit_te(
            dequantize,
            self._item(f"{stem}q_weight"),
            self._item(f"{stem}q_scale"),
            spec.shape[1],
            primfunc_name_hint="dequantize",
        )

    def _item(self, name: str) -> relax.Expr:
        return self._builder.emit(relax.TupleGetItem(self.var, self._index[name]))


def dequantize(q_weight: te.Tensor, q_scale: te.Tensor, columns: int) -> te.Tensor:
    """(q - 7) * scale, for the first `columns` of the stored groups.

    Args:
        q_weight: (out, words) uint32.
        q_scale: (out, groups), the model dtype.
        columns: The weight's width, which need not be a multiple of the group size.

    Returns:
        (out, columns) in the model dtype.
    """
    dtype = str(q_scale.dtype)

    def value(row: tirx.Var, column: tirx.Var) -> tirx.Expr:
        shift = (column % PER_WORD * _BITS).astype("uint32")
        nibble = tirx.bitwise_and(
            tirx.shift_right(q_weight[row, column // PER_WORD], shift), tirx.const((1 << _BITS) - 1, "uint32")
        )
        return (nibble.astype(dtype) - tirx.const(MAX_INT, dtype)) * q_scale[row, column // GROUP_SIZE]

    return te.compute((q_weight.shape[0], tirx.IntImm("int64", columns)), value, name="dequantize")
