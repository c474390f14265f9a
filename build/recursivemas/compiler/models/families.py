"""The families that are implemented, and how each one's `config.json` is read.

A family's model is the class `architecture` in the module of this package named `model_type`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from recursivemas.compiler.models.config_keys import NULL, Inert


@dataclass(frozen=True)
class Family:
    """One architecture of Hugging Face.

    Attributes:
        model_type: As in config.json.
        architecture: Its only supported class.
        qkv_name: MLC's name of the fused query, key and value projection.
        qkv_bias: Whether that projection has biases; None if the key ``attention_bias`` decides (for the output
            projection too).
        qk_norm: Whether queries and keys are normalised per head.
        head_dim_required: Whether config.json must give head_dim, because the default is not hidden_size / heads.
        null_head_dim: Whether transformers takes null for an absent head_dim.
        heads_divide_hidden: Whether transformers wants hidden_size to be a multiple of the heads, whatever head_dim is.
        kv_heads_required: Whether config.json must give num_key_value_heads.
        default_window: The sliding window without the key ``sliding_window``.
        layer_types: Whether the key may be there; transformers takes it for a sign of another family otherwise.
        inert: What differs from `config_keys.COMMON`.
    """

    model_type: str
    architecture: str
    qkv_name: str
    qkv_bias: bool | None = None
    qk_norm: bool = False
    head_dim_required: bool = False
    null_head_dim: bool = True
    heads_divide_hidden: bool = False
    kv_heads_required: bool = True
    default_window: int | None = None
    layer_types: bool = True
    inert: Mapping[str, Inert] = field(default_factory=dict)


_NO_WINDOW = {
    "use_sliding_window": Inert("with this value, the feature is off", values=(False,)),
    "sliding_window": Inert("use_sliding_window is false", types=(int, NULL)),
    "max_window_layers": Inert("use_sliding_window is false", types=(int,)),
}


def _fixed_bias(bias: bool) -> dict[str, Inert]:
    """What ``attention_bias`` may say where transformers does not read it."""
    return {"attention_bias": Inert("the family's biases are fixed", values=(None, bias))}


FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            "qwen2",
            "Qwen2ForCausalLM",
            qkv_name="c_attn",
            qkv_bias=True,
            null_head_dim=False,
            inert={**_NO_WINDOW, **_fixed_bias(True)},
        ),
        Family(
            "qwen3",
            "Qwen3ForCausalLM",
            qkv_name="c_attn",
            qk_norm=True,
            head_dim_required=True,
            inert=_NO_WINDOW,
        ),
        Family(
            "llama",
            "LlamaForCausalLM",
            qkv_name="qkv_proj",
            heads_divide_hidden=True,
            kv_heads_required=False,  # Llama 1's config.json has no key for grouped-query attention.
            inert={
                "mlp_bias": Inert("with this value, the feature is off", values=(False,)),
                "attention_dropout": Inert("it counts in training only", types=(float, int, NULL)),
            },
        ),
        Family(
            "mistral",
            "MistralForCausalLM",
            qkv_name="qkv_proj",
            qkv_bias=False,
            default_window=4096,
            layer_types=False,
            inert=_fixed_bias(False),
        ),
    )
}
