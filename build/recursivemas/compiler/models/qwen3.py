"""Qwen3 (dense): Llama whose queries and keys are normalised per head before RoPE."""

from dataclasses import replace

from tvm.relax.frontend.nn import Tensor

from recursivemas.compiler.kernels.attention_shape import AttentionShape
from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.layers import Norm
from recursivemas.compiler.models.llama import LlamaAttention, LlamaForCausalLM


class Qwen3Attention(LlamaAttention):
    """Llama's attention with a norm for queries and one for keys."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.q_norm = Norm(config.head_dim, config.rms_norm_eps)
        self.k_norm = Norm(config.head_dim, config.rms_norm_eps)

    def shape(self, dtype: str) -> AttentionShape:
        """Llama's, with the norms."""
        return replace(super().shape(dtype), eps=self.q_norm.eps)

    def head_norms(self) -> list[Tensor]:
        """Of queries and keys."""
        return [self.q_norm.weight, self.k_norm.weight]


class Qwen3ForCausalLM(LlamaForCausalLM):
    """Llama with that attention."""

    attention = Qwen3Attention
