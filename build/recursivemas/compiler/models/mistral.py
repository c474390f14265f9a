"""Mistral 7B and Ministral's text models: Llama, with a sliding window only if the context fits into it."""

from recursivemas.compiler.models.llama import LlamaForCausalLM


class MistralForCausalLM(LlamaForCausalLM):
    """Llama."""
