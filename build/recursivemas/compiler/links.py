"""RecursiveLinks in Relax: both variants of the inner and the outer link.

Source: arXiv 2604.25917 and its released checkpoints; the forms and the order of the tensors are docs/abi.md's. Links
compute in float32 whatever the model dtype. Deviation: WGSL has no erf, so GELU uses a rational approximation of it
(absolute error below 1e-6, see tests/build/test_links_gelu.py).
"""

from tvm import relax, te, tirx, topi

from recursivemas.system.links_file import INNER_TENSORS, Variant

VARIANTS: tuple[Variant, ...] = tuple(INNER_TENSORS)
LAYER_NORM_EPS = 1e-5


class LinkSizes:
    """Symbolic dimensions of one link function.

    Attributes:
        source: Hidden size that goes in.
        target: Hidden size that comes out.
        width: Hidden width of the link, symbolic.
    """

    def __init__(self, source: int | tirx.Var, target: int | tirx.Var) -> None:
        self.source = source
        self.target = target
        self.width = tirx.Var("width", "int64")


def inner_link_type(variant: Variant, hidden_size: int) -> relax.TupleType:
    """Type of an inner link's packed tensors; its width is symbolic."""
    sizes = LinkSizes(hidden_size, hidden_size)
    tensors = [*_linear(sizes.width, sizes.source), *_linear(sizes.target, sizes.width)]
    if variant == "ln_res":
        tensors = [*_norm(sizes.source), *tensors, *_norm(sizes.target)]
    return relax.TupleType(tensors)


def outer_link_type(variant: Variant, hidden_size: int) -> relax.TupleType:
    """Type of an outer link's packed tensors; its width and target size are symbolic."""
    sizes = LinkSizes(hidden_size, tirx.Var("target_size", "int64"))
    tensors = [
        *_linear(sizes.width, sizes.source),
        *_linear(sizes.target, sizes.width),
        *_linear(sizes.target, sizes.source),
    ]
    if variant == "ln_res":
        tensors = [*_norm(sizes.source), *tensors, *_norm(sizes.target)]
    return relax.TupleType(tensors)


def emit_inner_link(
    builder: relax.BlockBuilder, variant: Variant, hidden: relax.Expr, link: relax.Expr, dtype: str
) -> relax.Expr:
    """R_in(h) = h + W2 GELU(W1 h); ``ln_res``: LN_post(h + W2 GELU(W1 LN_pre(h))).

    Args:
        builder: Inside a dataflow block.
        variant: Of the link.
        hidden: (M, D) in `dtype`.
        link: Tuple of the type `inner_link_type` gives.
        dtype: The model dtype.

    Returns:
        (M, D) in `dtype`.
    """
    math = _Math(builder, link)
    state = math.widen(hidden)
    normed = math.layer_norm(state) if variant == "ln_res" else state
    result = math.add(state, math.linear(math.gelu(math.linear(normed))))
    if variant == "ln_res":
        result = math.layer_norm(result)
    return math.narrow(result, dtype)


def emit_outer_link(
    builder: relax.BlockBuilder, variant: Variant, hidden: relax.Expr, link: relax.Expr, dtype: str
) -> relax.Expr:
    """R_out(h) = W3 h + W2 GELU(W1 h); ``ln_res``: LN_target(W3 h + W2 GELU(W1 LN_source(h))).

    Args:
        builder: Inside a dataflow block.
        variant: Of the link.
        hidden: (M, S) in `dtype`.
        link: Tuple of the type `outer_link_type` gives.
        dtype: The model dtype.

    Returns:
        (M, D_target) in `dtype`.
    """
    math = _Math(builder, link)
    state = math.widen(hidden)
    normed = math.layer_norm(state) if variant == "ln_res" else state
    bent = math.linear(math.gelu(math.linear(normed)))
    result = math.add(math.linear(state), bent)
    if variant == "ln_res":
        result = math.layer_norm(result)
    return math.narrow(result, dtype)


def gelu(x: te.Tensor) -> te.Tensor:
    """x / 2 * (1 + erf(x / sqrt(2))), float32."""
    scaled = te.compute(x.shape, lambda *i: x(*i) * tirx.const(0.7071067811865476, "float32"), name="scaled")
    erf = topi.fast_erf(scaled)
    half = tirx.const(0.5, "float32")
    return te.compute(x.shape, lambda *i: half * x(*i) * (1 + erf(*i)), name="gelu")


def _linear(rows: int | tirx.Var, columns: int | tirx.Var) -> list[relax.TensorType]:
    return [relax.TensorType((rows, columns), "float32"), relax.TensorType((rows,), "float32")]


def _norm(size: int | tirx.Var) -> list[relax.TensorType]:
    return [relax.TensorType((size,), "float32")] * 2


class _Math:
    """The links' arithmetic in float32; weights are taken from the tuple one after the other, in call order."""

    def __init__(self, builder: relax.BlockBuilder, link: relax.Expr) -> None:
        self._builder = builder
        self._link = link
        self._taken = 0

    def _next(self) -> relax.Expr:
        self._taken += 1
        return self._emit(relax.TupleGetItem(self._link, self._taken - 1))

    def _emit(self, expression: relax.Expr) -> relax.Expr:
        return self._builder.emit(expression)

    def widen(self, x: relax.Expr) -> relax.Expr:
        return x if x.ty.dtype == "float32" else self._emit(relax.op.astype(x, "float32"))

    def narrow(self, x: relax.Expr, dtype: str) -> relax.Expr:
        return x if dtype == "float32" else self._emit(relax.op.astype(x, dtype))

    def add(self, x: relax.Expr, y: relax.Expr) -> relax.Expr:
        return self._emit(relax.op.add(x, y))

    def linear(self, x: relax.Expr) -> relax.Expr:
        weight, bias = self._next(), self._next()
        transposed = self._emit(relax.op.permute_dims(weight))
        return self.add(self._emit(relax.op.matmul(x, transposed, out_dtype="float32")), bias)

    def gelu(self, x: relax.Expr) -> relax.Expr:
        return self._builder.emit_te(gelu, x, primfunc_name_hint="gelu")

    def layer_norm(self, x: relax.Expr) -> relax.Expr:
        """In two passes, since mean(x * x) - mean(x) ** 2 cancels where the mean is large."""
        weight, bias = self._next(), self._next()
        centred = self._emit(relax.op.subtract(x, self._emit(relax.op.mean(x, axis=-1, keepdims=True))))
        variance = self._emit(relax.op.mean(self._emit(relax.op.multiply(centred, centred)), axis=-1, keepdims=True))
        stable = self._emit(relax.op.add(variance, relax.const(LAYER_NORM_EPS, "float32")))
        normed = self._emit(relax.op.multiply(centred, self._emit(relax.op.rsqrt(stable))))
        return self.add(self._emit(relax.op.multiply(normed, weight)), bias)
