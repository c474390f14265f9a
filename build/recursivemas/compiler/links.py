"""RecursiveLinks in Relax: every variant of the inner and the outer link.

Source: arXiv 2604.25917 and its released checkpoints; the tensors and their order are `names.LINK_VARIANTS`. Links
compute in float32 whatever the model dtype. Deviation: WGSL has no erf, so GELU uses a rational approximation of it
(absolute error below 1e-6, see tests/build/test_links_gelu.py).

Shape letters: M latent steps, S and D_target the hidden sizes that go in and come out.
"""

from collections.abc import Callable, Mapping, Sequence

from tvm import relax, te, tirx, topi
from tvm.relax.frontend.nn import Tensor, op

from recursivemas.compiler.kernels.link_product import link_product
from recursivemas.system.links_file import link_form
from recursivemas.system.names import MIN_LENGTH, Activation, LinkTensor, LinkVariant

LAYER_NORM_EPS = 1e-5

Weights = Mapping[str, Tensor]


def inner_link(variant: LinkVariant, h: Tensor, w: Weights) -> Tensor:
    """R_in(h) = h + W2 GELU(W1 h); ``ln_res``: LN_post(h + W2 GELU(W1 LN_pre(h))).

    ``normed``, with n = h / |h|: scale (n + W2 GELU(W1 n)).

    Args:
        variant: Of the link.
        h: (M, S) float32.
        w: The link's tensors by name.

    Returns:
        (M, S) float32.
    """
    activation = link_form(variant).activation
    if variant == "normed":
        n = _unit_length(h)
        return _bottleneck(n, w, activation, n) * w["scale"]
    if variant == "paper":
        return _bottleneck(h, w, activation, h)
    return _layer_norm(_bottleneck(_layer_norm(h, w, "ln_pre"), w, activation, h), w, "ln_post")


def outer_link(variant: LinkVariant, h: Tensor, w: Weights) -> Tensor:
    """R_out(h) = W3 h + W2 GELU(W1 h); ``ln_res``: LN_target(W3 h + W2 GELU(W1 LN_source(h))).

    ``normed`` computes the first of h / |h|.

    Args:
        variant: Of the link.
        h: (M, S) float32.
        w: The link's tensors by name.

    Returns:
        (M, D_target) float32.
    """
    activation = link_form(variant).activation
    if variant == "normed":
        h = _unit_length(h)
    straight = _linear(h, w["w3"], w["b3"])
    if variant != "ln_res":
        return _bottleneck(h, w, activation, straight)
    return _layer_norm(_bottleneck(_layer_norm(h, w, "ln_source"), w, activation, straight), w, "ln_target")


def link_type(tensors: Sequence[LinkTensor], source: int, target: int | tirx.Var) -> relax.TupleType:
    """Type of a link's packed tensors; the link's width is symbolic."""
    sizes = {"source": source, "target": target, "width": tirx.Var("width", "int64")}
    return relax.TupleType([relax.TensorType([sizes[size] for size in each.shape], "float32") for each in tensors])


def unpack(link: relax.Var, tensors: Sequence[LinkTensor]) -> Weights:
    """The tensors of a packed link by name; emits into the current block."""
    names = [each.name for each in tensors]
    return {name: op.wrap_nested(relax.TupleGetItem(link, index), name) for index, name in enumerate(names)}


def gelu(x: te.Tensor) -> te.Tensor:
    """x / 2 * (1 + erf(x / sqrt(2))), float32."""
    scaled = te.compute(x.shape, lambda *i: x(*i) * tirx.const(0.7071067811865476, "float32"), name="scaled")
    erf = topi.fast_erf(scaled)
    half = tirx.const(0.5, "float32")
    return te.compute(x.shape, lambda *i: half * x(*i) * (1 + erf(*i)), name="gelu")


def gelu_tanh(x: te.Tensor) -> te.Tensor:
    """x / 2 * (1 + tanh(u)) as x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3), float32.

    tanh itself is NaN for large arguments with some drivers, and so is exp where it overflows.
    """

    def value(*i: tirx.Var) -> tirx.Expr:
        cubic = x(*i) + tirx.const(0.044715, "float32") * x(*i) * x(*i) * x(*i)
        exponent = tirx.min(tirx.const(-2 * 0.7978845608028654, "float32") * cubic, tirx.const(80.0, "float32"))
        return x(*i) / (tirx.const(1.0, "float32") + tirx.exp(exponent))

    return te.compute(x.shape, value, name="gelu_tanh")


_GELUS: Mapping[Activation, Callable[[te.Tensor], te.Tensor]] = {"gelu": gelu, "gelu_tanh": gelu_tanh}


def _unit_length(h: Tensor) -> Tensor:
    """h / |h|, row by row."""
    squares = relax.op.sum((h * h)._expr, axis=-1, keepdims=True)
    return h / (op.wrap_nested(relax.op.sqrt(squares), "length") + MIN_LENGTH)


def _bottleneck(h: Tensor, w: Weights, activation: Activation, around: Tensor) -> Tensor:
    """W2 GELU(W1 h) + around."""
    inner = op.tensor_expr_op(_GELUS[activation], activation, [_linear(h, w["w1"], w["b1"])])
    return _linear(inner, w["w2"], w["b2"], around)


def _linear(x: Tensor, weight: Tensor, bias: Tensor, around: Tensor | None = None) -> Tensor:
    kernel = link_product(residual=around is not None)
    output = Tensor.placeholder([x.shape[0], weight.shape[0]], "float32")
    given = [x, weight, bias, *([] if around is None else [around])]
    return op.tensor_ir_op(kernel, "link_product", given, output)


def _layer_norm(x: Tensor, w: Weights, name: str) -> Tensor:
    """In two passes, because mean(x * x) - mean(x) ** 2 cancels where the mean is large."""
    centred = x - _mean(x)
    scale = op.wrap_nested(relax.op.rsqrt((_mean(centred * centred) + LAYER_NORM_EPS)._expr), "rsqrt")
    return centred * scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def _mean(x: Tensor) -> Tensor:
    return op.wrap_nested(relax.op.mean(x._expr, axis=-1, keepdims=True), "mean")
