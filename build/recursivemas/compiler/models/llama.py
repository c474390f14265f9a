"""Llama 1 to 3.2, and everything published as Llama (SmolLM2, TinyLlama).

Source: `modeling_llama.py` of transformers, whose outputs the parity tests compare with. Deviations: projections of the
same input are fused, and the KV cache applies RoPE and attends.

Shape letters: T positions, D hidden size, V vocabulary size. Qwen2, Qwen3 and Mistral build on these classes.
"""

from tvm import tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.kv_cache import create_kv_cache
from recursivemas.compiler.models.layers import Embedding, FusedLinear, Linear


def rms_norm(size: int, config: ModelConfig) -> nn.RMSNorm:
    """RMSNorm over the last axis, of width `size`."""
    return nn.RMSNorm(size, -1, config.rms_norm_eps, bias=False)


class LlamaAttention(nn.Module):
    """Causal self-attention in which several query heads share a key and a value head."""

    def __init__(self, config: ModelConfig) -> None:
        self.num_heads, self.num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        projections = {"q_proj": config.q_size, "k_proj": config.kv_size, "v_proj": config.kv_size}
        self.qkv_proj = FusedLinear(config.hidden_size, projections, bias=config.qkv_bias)
        self.o_proj = Linear(config.q_size, config.hidden_size, bias=config.o_bias)

    def project(self, x: Tensor) -> Tensor:
        """(1, T, D) to queries, keys and values, (1, T, all heads, head_dim)."""
        heads = self.num_heads + 2 * self.num_kv_heads
        return self.qkv_proj(x).reshape(1, x.shape[1], heads, self.head_dim)

    def forward(self, x: Tensor, kv_cache: PagedKVCache, layer_id: int) -> Tensor:
        """(1, T, D) to (1, T, D); the cache's layer grows by T positions."""
        attended = kv_cache.attention_with_fused_qkv(layer_id, self.project(x), self.num_heads, self.head_dim**-0.5)
        return self.o_proj(attended.reshape(1, x.shape[1], self.num_heads * self.head_dim))


class LlamaMLP(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        projections = {"gate_proj": config.intermediate_size, "up_proj": config.intermediate_size}
        self.gate_up_proj = FusedLinear(config.hidden_size, projections)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(1, T, D) to (1, T, D)."""
        gate, up = op.split(self.gate_up_proj(x), 2, axis=-1)
        return self.down_proj(op.silu(gate) * up)


class LlamaDecoderLayer(nn.Module):
    """Attention and MLP, each after a norm and beside a residual connection."""

    def __init__(self, config: ModelConfig, attention: type[LlamaAttention]) -> None:
        self.self_attn = attention(config)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = rms_norm(config.hidden_size, config)
        self.post_attention_layernorm = rms_norm(config.hidden_size, config)

    def forward(self, x: Tensor, kv_cache: PagedKVCache, layer_id: int) -> Tensor:
        """(1, T, D) to (1, T, D)."""
        x = self.self_attn(self.input_layernorm(x), kv_cache, layer_id) + x
        return self.mlp(self.post_attention_layernorm(x)) + x


class LlamaModel(nn.Module):
    """The embedding table, the layers and the final norm."""

    def __init__(self, config: ModelConfig, attention: type[LlamaAttention]) -> None:
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([LlamaDecoderLayer(config, attention) for _ in range(config.num_hidden_layers)])
        self.norm = rms_norm(config.hidden_size, config)

    def forward(self, input_embed: Tensor, kv_cache: PagedKVCache) -> Tensor:
        """(1, T, D) to the last layer's hidden states after the final norm, (1, T, D)."""
        x = input_embed
        for layer_id, layer in enumerate(self.layers):
            x = layer(x, kv_cache, layer_id)
        return self.norm(x)


class LlamaForCausalLM(nn.Module):
    """The whole model, with the methods that `recursivemas.compiler.export` compiles."""

    attention: type[LlamaAttention] = LlamaAttention

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.model = LlamaModel(config, self.attention)
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size)

    def embed(self, input_ids: Tensor) -> Tensor:
        """(T,) int32 to (T, D)."""
        return self.model.embed_tokens(input_ids)

    def get_last_hidden(self, input_embed: Tensor, paged_kv_cache: PagedKVCache) -> Tensor:
        """(1, T, D) to (1, T, D)."""
        return self.model(input_embed, paged_kv_cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """(M, D) to (M, V) float32."""
        output = self.model.embed_tokens if self.config.tie_word_embeddings else self.lm_head
        return output.product(hidden)

    def create_paged_kv_cache(self, **sizes: tirx.Var) -> PagedKVCache:
        """An empty cache of the given sizes; see `create_kv_cache`."""
        return create_kv_cache(self.config, self.model.norm.weight.dtype, sizes)
