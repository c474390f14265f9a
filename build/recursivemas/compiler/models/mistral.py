"""Mistral 7B and Ministral's text models, without a sliding window (or with one that never hides anything)."""

from recursivemas.compiler.models.hf_config import Family

FAMILY = Family(model_type="mistral", architecture="MistralForCausalLM", qkv_name="qkv_proj", qkv_bias=False)
