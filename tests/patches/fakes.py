"""Models with the structure of MLC-LLM's, small enough to compute their output by hand."""

from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache, RopeMode

from recursivemas.mlc.compat.kv_cache import create_generic

HIDDEN = 8
VOCABULARY = 12


class Layer(nn.Module):
    """Adds a linear map and ignores the cache."""

    def __init__(self) -> None:
        self.proj = nn.Linear(HIDDEN, HIDDEN, bias=False)

    def forward(self, hidden_states: Tensor, paged_kv_cache: PagedKVCache, layer_id: int) -> Tensor:
        return hidden_states + self.proj(hidden_states)


class Body(nn.Module):
    """Scales its input like Gemma, on request."""

    def __init__(self, scale: float, layers: int = 2) -> None:
        self.scale = scale
        self.embed_tokens = nn.Embedding("vocab_size", HIDDEN)
        self.layers = nn.ModuleList([Layer() for _ in range(layers)])
        self.norm = nn.RMSNorm(HIDDEN, -1, 1e-6, bias=False)

    def forward(self, input_embed: Tensor, paged_kv_cache: PagedKVCache) -> Tensor:
        hidden_states = input_embed if self.scale == 1.0 else input_embed * self.scale
        for layer_id, layer in enumerate(self.layers):
            hidden_states = layer(hidden_states, paged_kv_cache, layer_id)
        return self.norm(hidden_states)


class BareBody(nn.Module):
    """Leaves the last normalisation to the head, like Phi."""

    def __init__(self) -> None:
        self.embd = nn.Embedding(VOCABULARY, HIDDEN)
        self.h = nn.ModuleList([Layer(), Layer()])

    def forward(self, inputs: Tensor, paged_kv_cache: PagedKVCache) -> Tensor:
        for layer_id, layer in enumerate(self.h):
            inputs = layer(inputs, paged_kv_cache, layer_id)
        return inputs


class NormedHead(nn.Module):
    """Normalises, then projects."""

    def __init__(self) -> None:
        self.ln = nn.LayerNorm(HIDDEN, eps=1e-5)
        self.linear = nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.ln(x))


class Language(nn.Module):
    """Has the methods of every language model of MLC-LLM."""

    def __init__(self, body: nn.Module, head: nn.Module | None = None, cap: float | None = None) -> None:
        self.model = body
        self.lm_head = nn.Linear(HIDDEN, VOCABULARY, bias=False) if head is None else head
        self.cap = cap

    def embed(self, input_ids: Tensor) -> Tensor:
        table = getattr(self.model, "embed_tokens", None) or self.model.embd
        return table(input_ids)

    def decode(self, input_embed: Tensor, paged_kv_cache: PagedKVCache) -> Any:
        logits = self.lm_head(self.model(input_embed, paged_kv_cache))
        if self.cap is not None:
            logits = op.tanh(logits / self.cap) * self.cap
        return logits, paged_kv_cache

    def prefill(self, input_embed: Tensor, paged_kv_cache: PagedKVCache) -> Any:
        return self.decode(input_embed, paged_kv_cache)

    def create_paged_kv_cache(
        self,
        max_batch_size: Any,
        max_total_seq_len: Any,
        prefill_chunk_size: Any,
        page_size: Any,
        support_sliding_window: Any,
    ) -> PagedKVCache:
        return create_generic(
            attn_kind="mha",
            max_batch_size=max_batch_size,
            max_total_seq_len=max_total_seq_len,
            prefill_chunk_size=prefill_chunk_size,
            page_size=page_size,
            support_sliding_window=support_sliding_window,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            qk_head_dim=4,
            v_head_dim=4,
            rope_mode=RopeMode.NORMAL,
            rope_scale=1,
            rope_theta=10000,
            dtype="float32",
        )

    def get_default_spec(self) -> nn.spec.ModuleSpec:
        arguments = {
            "input_embed": nn.spec.Tensor([1, 1, HIDDEN], "float32"),
            "paged_kv_cache": nn.spec.Object(object_type=PagedKVCache),
            "$": {"param_mode": "packed", "effect_mode": "none"},
        }
        return nn.spec.ModuleSpec.from_raw({"decode": arguments}, self)


class Outer(nn.Module):
    """Wraps a language model, like Gemma 3."""

    def __init__(self, inner: Language) -> None:
        self.language_model = inner

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.language_model.embed(input_ids)

    def decode(self, input_embed: Tensor, paged_kv_cache: PagedKVCache) -> Any:
        return self.language_model.decode(input_embed, paged_kv_cache)

    def prefill(self, input_embed: Tensor, paged_kv_cache: PagedKVCache) -> Any:
        return self.language_model.prefill(input_embed, paged_kv_cache)

    def create_paged_kv_cache(self, **sizes: Any) -> PagedKVCache:
        return self.language_model.create_paged_kv_cache(**sizes)

    def get_default_spec(self) -> nn.spec.ModuleSpec:
        return self.language_model.get_default_spec()
