"""The families that are implemented, and how each one's `config.json` is read.

A family's model is the class `architecture` in the module of this package named `model_type`.
"""

from dataclasses import dataclass


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
        kv_heads_required: Whether config.json must give num_key_value_heads.
    """

    model_type: str
    architecture: str
    qkv_name: str
    qkv_bias: bool | None = None
    qk_norm: bool = False
    head_dim_required: bool = False
    kv_heads_required: bool = True


FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family("qwen2", "Qwen2ForCausalLM", qkv_name="c_attn", qkv_bias=True),
        Family("qwen3", "Qwen3ForCausalLM", qkv_name="c_attn", qk_norm=True, head_dim_required=True),
        # Llama 1's config.json has no key for grouped-query attention.
        Family("llama", "LlamaForCausalLM", qkv_name="qkv_proj", kv_heads_required=False),
        Family("mistral", "MistralForCausalLM", qkv_name="qkv_proj", qkv_bias=False),
    )
}
