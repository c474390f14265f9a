"""Llama 1 to 3.2, and everything published as Llama (SmolLM2, TinyLlama).

Source: `modeling_llama.py` of transformers, whose outputs the parity tests compare with. Deviations: projections of the
same input are fused, and norms, activations and residual connections are computed in the kernels of the products
beside them (`kernels/product.py`).

Shape letters: T positions, D hidden size, V vocabulary size. Qwen2, Qwen3 and Mistral build on these classes.
"""

from tvm import tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from recursivemas.compiler.kernels.attention_shape import AttentionShape
from recursivemas.compiler.kernels.product import Gate
from recursivemas.compiler.models.attention import attend
from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.kv_cache import attention_shape, create_kv_cache
from recursivemas.compiler.models.layers import Embedding, FusedLinear, Head, Linear, Norm


class LlamaAttention(nn.Module):
    """Causal self-attention in which several query heads share a key and a value head."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        projections = {"q_proj": config.q_size, "k_proj": config.kv_size, "v_proj": config.kv_size}
        self.qkv_proj = FusedLinear(config.hidden_size, projections, bias=config.qkv_bias)
        self.o_proj = Linear(config.q_size, config.hidden_size, bias=config.o_bias)

    def shape(self, dtype: str) -> AttentionShape:
        """What the kernels must know."""
        return attention_shape(self.config, dtype)

    def head_norms(self) -> list[Tensor]:
        """Weights of the norms of query and key heads, where the shape has an epsilon."""
        return []

    def forward(self, x: Tensor, norm: Norm, kv_cache: PagedKVCache, layer_id: int, *, add: bool = True) -> Tensor:
        """attention(norm(x)), plus x if `add` says so, (1, T, D); the cache's layer grows by T positions."""
        qkv = self.qkv_proj(x, norm=norm)
        attended = attend(self.shape(x.dtype), qkv, kv_cache, layer_id, self.head_norms())
        return self.o_proj(attended, residual=x if add else None)


class LlamaMLP(nn.Module):
    """down(act(gate(x)) * up(x))."""

    activation: Gate = "silu"

    def __init__(self, config: ModelConfig) -> None:
        projections = {"gate_proj": config.intermediate_size, "up_proj": config.intermediate_size}
        self.gate_up_proj = FusedLinear(config.hidden_size, projections)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor, norm: Norm, *, residual: Tensor | None = None) -> Tensor:
        """MLP(norm(x)) + residual, (1, T, D)."""
        return self.down_proj(self.gate_up_proj(x, norm=norm, gate=self.activation), residual=residual)


class LlamaDecoderLayer(nn.Module):
    """Attention and MLP, each after a norm and beside a residual connection."""

    def __init__(self, config: ModelConfig, attention: type[LlamaAttention]) -> None:
        self.self_attn = attention(config)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, kv_cache: PagedKVCache, layer_id: int) -> Tensor:
        """(1, T, D) to (1, T, D)."""
        x = self.self_attn(x, self.input_layernorm, kv_cache, layer_id)
        return self.mlp(x, self.post_attention_layernorm, residual=x)


class LlamaModel(nn.Module):
    """The embedding table, the layers and the final norm."""

    def __init__(self, config: ModelConfig, attention: type[LlamaAttention]) -> None:
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([LlamaDecoderLayer(config, attention) for _ in range(config.num_hidden_layers)])
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)

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
        self.model = self.base_model(config)
        if not config.tie_word_embeddings:
            self.lm_head = Head(config.hidden_size, config.vocab_size)

    def base_model(self, config: ModelConfig) -> nn.Module:
        """The model without the output layer: its `embed_tokens` and its `norm` are used here."""
        return LlamaModel(config, self.attention)

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
