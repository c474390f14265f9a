"""Gemma 3 (text): layers with a sliding window among layers with full attention, each kind with a RoPE of its own.

Source: `modeling_gemma3.py` of transformers, whose outputs the parity tests compare with. Deviation: projections of the
same input are fused.

Shape letters: T positions, D hidden size, V vocabulary size.
"""

from dataclasses import replace

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from recursivemas.compiler.kernels.attention_shape import AttentionShape
from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.kv_cache import attention_shape
from recursivemas.compiler.models.layers import Embedding, ZeroCentredNorm
from recursivemas.compiler.models.llama import LlamaAttention, LlamaForCausalLM, LlamaMLP


class Gemma3Attention(LlamaAttention):
    """Llama's attention with norms for queries and keys, over everything or the nearest positions."""

    def __init__(self, config: ModelConfig, kind: str) -> None:
        super().__init__(config)
        self.kind = kind
        self.q_norm = ZeroCentredNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = ZeroCentredNorm(config.head_dim, config.rms_norm_eps)

    def shape(self, dtype: str) -> AttentionShape:
        """Llama's, with the norms."""
        return replace(attention_shape(self.config, dtype, self.kind), eps=self.q_norm.eps, zero_centred=True)

    def head_norms(self) -> list[Tensor]:
        """Of queries and keys."""
        return [self.q_norm.weight, self.k_norm.weight]


class Gemma3MLP(LlamaMLP):
    """Llama's MLP with GELU in its tanh form."""

    activation = "gelu_tanh"


class Gemma3DecoderLayer(nn.Module):
    """Attention and MLP, each between two norms and beside a residual connection."""

    def __init__(self, config: ModelConfig, kind: str) -> None:
        self.self_attn = Gemma3Attention(config, kind)
        self.mlp = Gemma3MLP(config)
        size, epsilon = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = ZeroCentredNorm(size, epsilon)
        self.post_attention_layernorm = ZeroCentredNorm(size, epsilon)
        self.pre_feedforward_layernorm = ZeroCentredNorm(size, epsilon)
        self.post_feedforward_layernorm = ZeroCentredNorm(size, epsilon)

    def forward(self, x: Tensor, kv_cache: PagedKVCache, layer_id: int) -> Tensor:
        """(1, T, D) to (1, T, D)."""
        attended = self.self_attn(x, self.input_layernorm, kv_cache, layer_id, add=False)
        x = self.post_attention_layernorm(attended, residual=x)
        return self.post_feedforward_layernorm(self.mlp(x, self.pre_feedforward_layernorm), residual=x)


class Gemma3TextModel(nn.Module):
    """The embedding table, the layers and the final norm."""

    def __init__(self, config: ModelConfig) -> None:
        assert config.layer_types is not None
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Gemma3DecoderLayer(config, kind) for kind in config.layer_types])
        self.norm = ZeroCentredNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, input_embed: Tensor, kv_cache: PagedKVCache) -> Tensor:
        """(1, T, D) to the last layer's hidden states after the final norm, (1, T, D)."""
        x = input_embed
        for layer_id, layer in enumerate(self.layers):
            x = layer(x, kv_cache, layer_id)
        return self.norm(x)


class Gemma3ForCausalLM(LlamaForCausalLM):
    """Llama with those layers and scaled embeddings."""

    def base_model(self, config: ModelConfig) -> nn.Module:
        """Gemma 3's."""
        return Gemma3TextModel(config)

    def embed(self, input_ids: Tensor) -> Tensor:
        """(T,) int32 to (T, D), scaled by the root of D."""
        return self.model.embed_tokens(input_ids) * self.config.hidden_size**0.5
