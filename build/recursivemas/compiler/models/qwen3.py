"""Qwen3 (dense): queries and keys normalised per head; heads whose width config.json gives; biases if it says so."""

from recursivemas.compiler.models.hf_config import Family

FAMILY = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    qkv_name="c_attn",
    qk_norm=True,
    head_dim_required=True,
)
