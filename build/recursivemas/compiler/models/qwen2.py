"""Qwen2 and Qwen2.5: Llama whose query, key and value projections have biases (`families.py` says so)."""

from recursivemas.compiler.models.llama import LlamaForCausalLM


class Qwen2ForCausalLM(LlamaForCausalLM):
    """Llama."""
