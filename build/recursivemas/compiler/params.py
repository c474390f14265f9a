"""How a model's parameters relate to a checkpoint's tensors: the seam between model definitions and conversion."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ParamSpec:
    """One parameter of a compiled model before quantization.

    Attributes:
        name: MLC's name, e.g. ``model.layers.0.self_attn.qkv_proj.weight``. A quantized parameter is stored as
            ``….qkv_proj.q_weight`` and ``….qkv_proj.q_scale`` instead.
        shape: Logical shape; (out_features, in_features) for a linear or embedding weight.
        sources: Checkpoint tensors that are concatenated along axis 0, in order, to make it.
        source_shapes: The shape expected of each of them, in the same order.
        quantize: Whether the ``q4*`` schemes quantize it (linear and embedding weights yes, norms and biases no).
    """

    name: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    source_shapes: tuple[tuple[int, ...], ...]
    quantize: bool
