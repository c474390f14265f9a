"""Qwen2 and Qwen2.5: biases on the query, key and value projections, always."""

from recursivemas.compiler.models.hf_config import Family

FAMILY = Family(model_type="qwen2", architecture="Qwen2ForCausalLM", qkv_name="c_attn", qkv_bias=True)
