"""Qwen3 (dense): Llama whose queries and keys are normalised per head before RoPE."""

from tvm.relax.frontend.nn import Tensor, op

from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.llama import LlamaAttention, LlamaForCausalLM, rms_norm


class Qwen3Attention(LlamaAttention):
    """Llama's attention with a norm for queries and one for keys."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.q_norm = rms_norm(config.head_dim, config)
        self.k_norm = rms_norm(config.head_dim, config)

    def project(self, x: Tensor) -> Tensor:
        """(1, T, D) to queries, keys and values, (1, T, all heads, head_dim)."""
        keys, values = self.num_heads, self.num_heads + self.num_kv_heads
        query, key, value = op.split(super().project(x), [keys, values], axis=2)
        return op.concat([self.q_norm(query), self.k_norm(key), value], dim=2)


class Qwen3ForCausalLM(LlamaForCausalLM):
    """Llama with that attention."""

    attention = Qwen3Attention
