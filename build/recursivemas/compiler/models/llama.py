"""Llama 1 to 3.2 and everything published as it (SmolLM2, TinyLlama); plain or llama3-scaled RoPE."""

from recursivemas.compiler.models.hf_config import Family

FAMILY = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    qkv_name="qkv_proj",
    # Llama 1's config.json knows no grouped-query attention.
    kv_heads_required=False,
)
