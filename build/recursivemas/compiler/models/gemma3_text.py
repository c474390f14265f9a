"""Gemma 3 (text): layers with a sliding window among layers with full attention, each kind with a RoPE of its own.

Source: `modeling_gemma3.py` of transformers, whose outputs the parity tests compare with. Deviations: projections of
the same input are fused, and the model turns queries and keys before the KV cache, which knows one RoPE only.

Shape letters: T positions, D hidden size, V vocabulary size, H heads.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from recursivemas.compiler.links import gelu_tanh
from recursivemas.compiler.models.attention_kernels import sine_and_cosine
from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.layers import Embedding, FusedLinear, Linear, ZeroCentredRMSNorm
from recursivemas.compiler.models.llama import LlamaForCausalLM

Turns = Mapping[str, tuple[Tensor, Tensor]]
"""Sine and cosine of each position and pair, (T, head_dim / 2) float32, by kind of layer."""


class Gemma3Attention(nn.Module):
    """Causal self-attention with normalised queries and keys, over everything or the nearest positions."""

    def __init__(self, config: ModelConfig, kind: str) -> None:
        self.kind = kind
        self.num_heads, self.num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        self.scale = (config.query_pre_attn_scalar or config.head_dim) ** -0.5
        projections = {"q_proj": config.q_size, "k_proj": config.kv_size, "v_proj": config.kv_size}
        self.qkv_proj = FusedLinear(config.hidden_size, projections, bias=config.qkv_bias)
        self.o_proj = Linear(config.q_size, config.hidden_size, bias=config.o_bias)
        self.q_norm = ZeroCentredRMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = ZeroCentredRMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(self, x: Tensor, kv_cache: PagedKVCache, layer_id: int, turns: Turns) -> Tensor:
        """(1, T, D) to (1, T, D); the cache's layer grows by T positions."""
        length, heads = x.shape[1], self.num_heads
        qkv = self.qkv_proj(x).reshape(1, length, heads + 2 * self.num_kv_heads, self.head_dim)
        query, key, value = op.split(qkv, [heads, heads + self.num_kv_heads], axis=2)
        turned = [_turned(norm(each), *turns[self.kind]) for norm, each in ((self.q_norm, query), (self.k_norm, key))]
        qkv = op.concat([*turned, value], dim=2)
        attended = kv_cache.attention_with_fused_qkv(layer_id, qkv, heads, self.scale)
        return self.o_proj(attended.reshape(1, length, heads * self.head_dim))


class Gemma3MLP(nn.Module):
    """down(gelu(gate(x)) * up(x)), GELU in its tanh form."""

    def __init__(self, config: ModelConfig) -> None:
        projections = {"gate_proj": config.intermediate_size, "up_proj": config.intermediate_size}
        self.gate_up_proj = FusedLinear(config.hidden_size, projections)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(1, T, D) to (1, T, D)."""
        gate, up = op.split(self.gate_up_proj(x), 2, axis=-1)
        activated = op.tensor_expr_op(gelu_tanh, "gelu_tanh", [gate.astype("float32")])
        return self.down_proj(activated.astype(x.dtype) * up)


class Gemma3DecoderLayer(nn.Module):
    """Attention and MLP, each between two norms and beside a residual connection."""

    def __init__(self, config: ModelConfig, kind: str) -> None:
        self.self_attn = Gemma3Attention(config, kind)
        self.mlp = Gemma3MLP(config)
        size, epsilon = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = ZeroCentredRMSNorm(size, epsilon)
        self.post_attention_layernorm = ZeroCentredRMSNorm(size, epsilon)
        self.pre_feedforward_layernorm = ZeroCentredRMSNorm(size, epsilon)
        self.post_feedforward_layernorm = ZeroCentredRMSNorm(size, epsilon)

    def forward(self, x: Tensor, kv_cache: PagedKVCache, layer_id: int, turns: Turns) -> Tensor:
        """(1, T, D) to (1, T, D)."""
        attended = self.self_attn(self.input_layernorm(x), kv_cache, layer_id, turns)
        x = x + self.post_attention_layernorm(attended)
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class Gemma3TextModel(nn.Module):
    """The embedding table, the layers and the final norm."""

    def __init__(self, config: ModelConfig) -> None:
        assert config.layer_types is not None
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Gemma3DecoderLayer(config, kind) for kind in config.layer_types])
        self.norm = ZeroCentredRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.frequencies = {
            "full_attention": config.rope_frequencies(),
            "sliding_attention": config.local_rope_frequencies(),
        }
        self.kinds = sorted(set(config.layer_types))

    def forward(self, input_embed: Tensor, kv_cache: PagedKVCache) -> Tensor:
        """(1, T, D) to the last layer's hidden states after the final norm, (1, T, D)."""
        positions = kv_cache.get_query_positions(input_embed.shape[1])
        turns = {kind: _turns(positions, self.frequencies[kind]) for kind in self.kinds}
        x = input_embed
        for layer_id, layer in enumerate(self.layers):
            x = layer(x, kv_cache, layer_id, turns)
        return self.norm(x)


class Gemma3ForCausalLM(LlamaForCausalLM):
    """The whole model, with the methods that `recursivemas.compiler.export` compiles."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.model = Gemma3TextModel(config)
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size)

    def embed(self, input_ids: Tensor) -> Tensor:
        """(T,) int32 to (T, D), scaled by the root of D."""
        return self.model.embed_tokens(input_ids) * self.config.hidden_size**0.5


def _turns(positions: Tensor, frequencies: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Sine and cosine of the angle of each pair at each position, (T, head_dim / 2) float32."""

    def turns(where: te.Tensor, speed: te.Tensor) -> tuple[te.Tensor, te.Tensor]:
        shape = (where.shape[0], speed.shape[0])

        def part(index: int) -> te.Tensor:
            return te.compute(
                shape,
                lambda t, d: sine_and_cosine(where[t].astype("float32") * speed[d])[index],
                name=("sine", "cosine")[index],
            )

        return part(0), part(1)

    sine, cosine = op.tensor_expr_op(turns, "rope_turns", [positions, Tensor.from_const(frequencies)])
    return sine, cosine


def _turned(x: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """(1, T, H, head_dim) with each pair turned by its angle."""

    def turned(heads: te.Tensor, sin: te.Tensor, cos: te.Tensor) -> te.Tensor:
        width = heads.shape[3]
        half = width // 2

        def value(b: tirx.Var, t: tirx.Var, h: tirx.Var, d: tirx.Var) -> tirx.Expr:
            own = heads[b, t, h, d].astype("float32")
            other = heads[b, t, h, (d + half) % width].astype("float32")
            signed = tirx.Select(d < half, -other, other)
            return (own * cos[t, d % half] + signed * sin[t, d % half]).astype(heads.dtype)

        return te.compute(heads.shape, value, name="turned")

    return op.tensor_expr_op(turned, "rope_turned", [x, sine, cosine])
