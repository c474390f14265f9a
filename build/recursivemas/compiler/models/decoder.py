"""The decoder that all four families share, in Relax.

Source: the families' modelling code in transformers, whose outputs the parity tests compare with. Matrix products add
up in float32 whatever the model dtype (MLC adds up in the model dtype): float16 sums over thousands of terms would lose
what the hidden states are handed over for.
"""

from tvm import relax

from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.packed import PackedParams


class Decoder:
    """Emits parts of the model into the function that `builder` is building.

    Args of the methods are Relax expressions: B = 1 sequence, T positions, D hidden size, V vocabulary size.
    """

    def __init__(self, builder: relax.BlockBuilder, config: ModelConfig, params: PackedParams, dtype: str) -> None:
        self._builder = builder
        self._config = config
        self._params = params
        self._dtype = dtype

    def embed(self, input_ids: relax.Expr) -> relax.Expr:
        """(T,) int32 to (T, D)."""
        table = self._params.matrix("model.embed_tokens.weight")
        return self._emit(relax.op.take(table, input_ids, axis=0, mode="clip"))

    def hidden_states(self, input_embed: relax.Expr, kv_cache: relax.Expr) -> relax.Expr:
        """(1, T, D) to the last-layer hidden states after the final norm, (1, T, D); the cache grows by T positions."""
        hidden = input_embed
        for index in range(self._config.num_hidden_layers):
            layer = f"model.layers.{index}"
            normed = self._norm(hidden, f"{layer}.input_layernorm.weight")
            hidden = self._emit(relax.op.add(self._attention(normed, kv_cache, index), hidden))
            normed = self._norm(hidden, f"{layer}.post_attention_layernorm.weight")
            hidden = self._emit(relax.op.add(self._mlp(normed, f"{layer}.mlp"), hidden))
        return self._norm(hidden, "model.norm.weight")

    def lm_head(self, hidden: relax.Expr) -> relax.Expr:
        """(..., D) to (..., V) logits in float32."""
        name = "model.embed_tokens.weight" if self._config.tie_word_embeddings else "lm_head.weight"
        return self._product(hidden, name)

    def _attention(self, hidden: relax.Expr, kv_cache: relax.Expr, index: int) -> relax.Expr:
        config, prefix = self._config, f"model.layers.{index}.self_attn"
        positions = hidden.ty.shape[1]
        heads = config.num_attention_heads + 2 * config.num_key_value_heads
        qkv = self._linear(hidden, f"{prefix}.{config.qkv_name}")
        qkv = self._emit(relax.op.reshape(qkv, (positions, heads, config.head_dim)))
        if config.qk_norm:
            qkv = self._normalise_heads(qkv, prefix)
        attended = self._emit(
            relax.call_dps_packed(
                "vm.builtin.attention_kv_cache_attention_with_fused_qkv",
                [kv_cache, relax.prim_value(index), relax.prim_value(config.head_dim**-0.5), qkv],
                out_ty=relax.TensorType((positions, config.num_attention_heads, config.head_dim), self._dtype),
            )
        )
        attended = self._emit(relax.op.reshape(attended, (1, positions, config.q_size)))
        return self._linear(attended, f"{prefix}.o_proj")

    def _normalise_heads(self, qkv: relax.Expr, prefix: str) -> relax.Expr:
        config = self._config
        keys = config.num_attention_heads
        values = keys + config.num_key_value_heads
        parts = self._emit(relax.op.split(qkv, [keys, values], axis=1))
        query, key, value = (self._emit(relax.TupleGetItem(parts, part)) for part in range(3))
        query, key = self._norm(query, f"{prefix}.q_norm.weight"), self._norm(key, f"{prefix}.k_norm.weight")
        return self._emit(relax.op.concat([query, key, value], axis=1))

    def _mlp(self, hidden: relax.Expr, prefix: str) -> relax.Expr:
        both = self._linear(hidden, f"{prefix}.gate_up_proj")
        parts = self._emit(relax.op.split(both, 2, axis=-1))
        gate, up = (self._emit(relax.TupleGetItem(parts, part)) for part in range(2))
        gated = self._emit(relax.op.multiply(self._emit(relax.op.nn.silu(gate)), up))
        return self._linear(gated, f"{prefix}.down_proj")

    def _linear(self, x: relax.Expr, name: str) -> relax.Expr:
        y = self._product(x, f"{name}.weight")
        if self._dtype != "float32":
            y = self._emit(relax.op.astype(y, self._dtype))
        if f"{name}.bias" in self._params:
            y = self._emit(relax.op.add(y, self._params.vector(f"{name}.bias")))
        return y

    def _product(self, x: relax.Expr, name: str) -> relax.Expr:
        """x times the transpose of an (out, in) weight, in float32."""
        weight = self._emit(relax.op.permute_dims(self._params.matrix(name)))
        return self._emit(relax.op.matmul(x, weight, out_dtype="float32"))

    def _norm(self, x: relax.Expr, name: str) -> relax.Expr:
        weight = self._params.vector(name)
        return self._emit(relax.op.nn.rms_norm(x, weight, axes=-1, epsilon=self._config.rms_norm_eps))

    def _emit(self, expression: relax.Expr) -> relax.Expr:
        return self._builder.emit(expression)
