"""How a model's parameters relate to a checkpoint's tensors; conversion knows no more of a model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ParamSpec:
    """One parameter of a compiled model before quantization.

    Attributes:
        name: MLC's name, e.g. ``model.layers.0.self_attn.qkv_proj.weight``. A quantized parameter is stored as
            ``….qkv_proj.q_weight`` and ``….qkv_proj.q_scale`` instead.
        shape: Logical shape; (out_features, in_features) for a linear or embedding weight.
        sources: The checkpoint's tensors whose concatenation along axis 0 makes the parameter.
        source_shapes: The expected shape of each source.
        quantize: Whether the ``q4*`` schemes quantize it: linear and embedding weights, not norms and biases.
        dtype: The dtype that it has in every scheme; None for the scheme's.
        table: Whether it is a table of embeddings or an output layer, which is stored in parts if it is too large for a
            buffer that every device binds.
    """

    name: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    source_shapes: tuple[tuple[int, ...], ...]
    quantize: bool
    dtype: str | None = None
    table: bool = False
