"""The families that are implemented, and how each one's `config.json` is read.

A family's model is the class `architecture` in the module of this package named `model_type`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recursivemas.compiler.models.config_keys import NULL, Inert


@dataclass(frozen=True)
class Multimodal:
    """A model that holds a family's text model beside parts for pictures; those are left out.

    Attributes:
        model_type: As in config.json, whose `text_config` is the family's own.
        architecture: Its class.
        inert: Keys beside `text_config`, in addition to `config_keys.COMMON`.
    """

    model_type: str
    architecture: str
    inert: Mapping[str, Inert]


@dataclass(frozen=True)
class Family:
    """One architecture of Hugging Face.

    Attributes:
        model_type: The module of this package that defines it.
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
        config_type: `model_type` in config.json, where it is not the module's name.
        linear_attention: Whether some layers have gated delta networks in place of attention.
        default_rotary: The part of a head that RoPE rotates without the key ``partial_rotary_factor``; None if the key
            is not read and the whole head is rotated.
        rope_inert: Keys of the RoPE table that change nothing for text.
        multimodal: The model with pictures that this family's model is a part of.
        text_prefixes: What the names of the checkpoint's tensors may begin with in place of `model.`.
        left_out: What the names of tensors begin with that belong to other parts, such as the one for pictures.
        activation_key: The key that names the MLP's activation.
        activations: Its values that are implemented; the first one counts without the key.
        defaults: Values of keys that may be absent, as transformers has them for this family alone.
        sliding_layers: Whether some layers attend to the nearest positions only, with a RoPE of their own.
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
    config_type: str | None = None
    linear_attention: bool = False
    default_rotary: float | None = None
    rope_inert: frozenset[str] = frozenset()
    multimodal: Multimodal | None = None
    text_prefixes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    activation_key: str = "hidden_act"
    activations: tuple[str, ...] = ("silu", "swish")
    defaults: Mapping[str, Any] = field(default_factory=dict)
    sliding_layers: bool = False
    inert: Mapping[str, Inert] = field(default_factory=dict)


_NO_WINDOW = {
    "use_sliding_window": Inert("with this value, the feature is off", values=(False,)),
    "sliding_window": Inert("use_sliding_window is false", types=(int, NULL)),
    "max_window_layers": Inert("use_sliding_window is false", types=(int,)),
}

_PICTURES = Inert("it belongs to the part for pictures and videos")
_PREDICTION = Inert("it belongs to the part that predicts several tokens at once")


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
        Family(
            "qwen3_5",
            "Qwen3_5ForCausalLM",
            qkv_name="c_attn",
            head_dim_required=True,
            config_type="qwen3_5_text",
            linear_attention=True,
            default_rotary=0.25,
            # Text has the same number in all three of its position numbers.
            rope_inert=frozenset({"mrope_section", "mrope_interleaved"}),
            multimodal=Multimodal(
                "qwen3_5",
                "Qwen3_5ForConditionalGeneration",
                {
                    **dict.fromkeys(("image_token_id", "video_token_id"), _PICTURES),
                    **dict.fromkeys(("vision_start_token_id", "vision_end_token_id", "vision_config"), _PICTURES),
                    "language_model_only": _PICTURES,
                    "model_name": Inert("it says where the checkpoint comes from or what wrote it"),
                },
            ),
            text_prefixes=("model.language_model.",),
            left_out=("model.visual.", "mtp."),
            inert={
                "attn_output_gate": Inert("every layer with attention has the gate", values=(True,)),
                "mamba_ssm_dtype": Inert("the recurrent state is always float32", values=(None, "float32")),
                "mtp_num_hidden_layers": _PREDICTION,
                "mtp_use_dedicated_embeddings": _PREDICTION,
                "mlp_only_layers": Inert("every layer has the same MLP", values=([],)),
            },
        ),
        Family(
            "gemma3_text",
            "Gemma3ForCausalLM",
            qkv_name="qkv_proj",
            head_dim_required=True,
            null_head_dim=False,
            heads_divide_hidden=True,
            activation_key="hidden_activation",
            activations=("gelu_pytorch_tanh",),
            # Published checkpoints leave out what has the default's value.
            defaults={
                "vocab_size": 262208,
                "hidden_size": 2304,
                "intermediate_size": 9216,
                "num_hidden_layers": 26,
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "head_dim": 256,
                "max_position_embeddings": 131072,
                "tie_word_embeddings": True,
            },
            sliding_layers=True,
            multimodal=Multimodal(
                "gemma3",
                "Gemma3ForConditionalGeneration",
                {
                    **dict.fromkeys(("boi_token_index", "eoi_token_index", "image_token_index"), _PICTURES),
                    **dict.fromkeys(("boi_token_id", "eoi_token_id", "image_token_id"), _PICTURES),
                    **dict.fromkeys(("mm_tokens_per_image", "vision_config"), _PICTURES),
                },
            ),
            text_prefixes=("language_model.model.", "model.language_model."),
            left_out=("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."),
            inert={
                "hidden_act": Inert("only hidden_activation counts"),
                "cache_implementation": Inert("it changes speed and memory, not numbers", values=(None, "hybrid")),
                "_sliding_window_pattern": Inert("layer_types or sliding_window_pattern count"),
            },
        ),
    )
}
