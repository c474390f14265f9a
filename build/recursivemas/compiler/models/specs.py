"""The parameters of a compiled model and the checkpoint's tensors that each is made of.

Names are MLC-LLM's, fused projections included, so that tensors can be compared with MLC's.
"""

from collections.abc import Iterator

from tvm.relax.frontend import nn

from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.params import ParamSpec


def specs_of(model: nn.Module, config: ModelConfig) -> Iterator[ParamSpec]:
    """Lists a model's parameters before quantization, in call order."""
    for path, parameter in model.named_parameters():
        shape = tuple(int(size) for size in parameter.shape)
        layer, _, kind = path.rpartition(".")
        parent = layer.rpartition(".")[0]
        parts: dict[str, int] = parameter.attrs.get("parts", {})
        yield ParamSpec(
            name=path.replace(".qkv_proj.", f".{config.qkv_name}."),
            shape=shape,
            sources=tuple(f"{parent}.{part}.{kind}" for part in parts) or (path,),
            source_shapes=tuple((rows, *shape[1:]) for rows in parts.values()) or (shape,),
            quantize="quantize" in parameter.attrs,
            dtype=parameter.attrs.get("dtype"),
            table=parameter.attrs.get("table", False),
        )
