"""Qwen3.5 (text): gated delta networks in most layers, attention with an output gate in the others.

Source: `modeling_qwen3_5.py` of transformers, whose outputs the parity tests compare with; text alone, so its three
position numbers are one and RoPE is ordinary, on the first part of each head. Deviations: projections of the same input
are fused, and the linear layers compute in float32 from their projections to the gated norm (`delta_rule.py`).

Shape letters: T positions, D hidden size, W width of a linear layer's projections.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tvm import te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from recursivemas.compiler.models import delta_rule
from recursivemas.compiler.models.attention import attend
from recursivemas.compiler.models.config import LinearAttention, ModelConfig
from recursivemas.compiler.models.layers import (
    Embedding,
    Float32Parameter,
    FusedLinear,
    Linear,
    Norm,
    ZeroCentredNorm,
    mean_of_squares,
)
from recursivemas.compiler.models.llama import LlamaAttention, LlamaForCausalLM, LlamaMLP

_L2_EPSILON = 1e-6


class Qwen3_5Attention(LlamaAttention):  # noqa: N801
    """Causal self-attention whose output is multiplied by a gate that the queries' projection brings along."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        projections = {"q_proj": 2 * config.q_size, "k_proj": config.kv_size, "v_proj": config.kv_size}
        self.qkv_proj = FusedLinear(config.hidden_size, projections, bias=config.qkv_bias)
        self.q_norm = ZeroCentredNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = ZeroCentredNorm(config.head_dim, config.rms_norm_eps)

    def forward(self, x: Tensor, norm: Norm, kv_cache: PagedKVCache, layer_id: int, *, add: bool = True) -> Tensor:
        """As Llama's; the layer is counted among those with attention."""
        width = self.config.head_dim
        shape = replace(self.shape(x.dtype), eps=self.q_norm.eps, zero_centred=True, query_stride=2 * width)
        qkv = self.qkv_proj(x, norm=norm)
        attended = attend(shape, qkv, kv_cache, layer_id, [self.q_norm.weight, self.k_norm.weight])

        def gated(values: te.Tensor, projected: te.Tensor) -> te.Tensor:
            def value(b: tirx.Var, t: tirx.Var, c: tirx.Var) -> tirx.Expr:
                gate = projected[b, t, c // width * (2 * width) + width + c % width].astype("float32")
                return (values[b, t, c].astype("float32") * delta_rule.sigmoid(gate)).astype(values.dtype)

            return te.compute(values.shape, value, name="gated")

        attended = op.tensor_expr_op(gated, "output_gate", [attended, qkv])
        return self.o_proj(attended, residual=x if add else None)


class _Weight(nn.Module):
    """A single weight under a name of its own, as the checkpoint has it."""

    def __init__(self, *shape: int) -> None:
        self.weight = nn.Parameter(shape)


class Qwen3_5GatedDeltaNet(nn.Module):  # noqa: N801
    """Linear attention with a state per head, which decays and learns by the delta rule."""

    def __init__(self, config: ModelConfig) -> None:
        assert config.linear is not None
        self.linear: LinearAttention = config.linear
        self.eps = config.rms_norm_eps
        heads = self.linear.num_value_heads
        self.projections = {
            "in_proj_qkv": self.linear.conv_channels,
            "in_proj_z": self.linear.value_size,
            "in_proj_b": heads,
            "in_proj_a": heads,
        }
        self.in_proj = FusedLinear(config.hidden_size, self.projections)
        self.conv1d = _Weight(self.linear.conv_channels, 1, self.linear.conv_kernel_dim)
        self.dt_bias = Float32Parameter((heads,))
        self.A_log = Float32Parameter((heads,))
        self.norm = _Weight(self.linear.value_head_dim)
        self.out_proj = Linear(self.linear.value_size, config.hidden_size)

    def forward(self, x: Tensor, norm: Norm, conv_state: Tensor, memory: Tensor) -> Tensor:
        """x + attention(norm(x)), (1, T, D); the state's two tensors change in place."""
        linear, length, width = self.linear, x.shape[1], sum(self.projections.values())
        projected = self.in_proj.product(x, norm=norm)  # (1, T, W) float32
        convolved = self._convolve(projected, conv_state)
        qk = op.tensor_expr_op(self._normalise, "normalise_queries_and_keys", [convolved])
        gates = delta_rule.gates_kernel(linear, width)
        beta, decay = op.tensor_ir_op(
            gates, "gates", [projected, self.A_log, self.dt_bias], [_empty(length, linear.num_value_heads)] * 2
        )
        recalled = self._recall([qk, convolved, beta, decay], memory)
        return self.out_proj(self._gated_norm(recalled, projected).astype(x.dtype), residual=x)

    def _convolve(self, projected: Tensor, state: Tensor) -> Tensor:
        """(1, T, W) to the convolved channels (T, C)."""
        kernel = delta_rule.convolution_kernel(self.linear, int(projected.shape[2]), self.conv1d.weight.dtype)
        outputs = [state, _empty(projected.shape[1], self.linear.conv_channels)]
        arguments = [projected, self.conv1d.weight, state]
        return op.tensor_ir_inplace_op(kernel, "causal_convolution", arguments, [2, -1], outputs)[1]

    def _normalise(self, convolved: te.Tensor) -> te.Tensor:
        """Queries, scaled, and keys of length 1: (T, C) to (T, 2 key heads, key_head_dim)."""
        heads, width = self.linear.num_key_heads, self.linear.key_head_dim
        shape = (convolved.shape[0], _int64(2 * heads), _int64(width))
        d = te.reduce_axis((0, _int64(width)), "d")
        squares = te.compute(
            shape[:2],
            lambda t, h: te.sum(convolved[t, h * width + d] * convolved[t, h * width + d], axis=d),
            name="squares",
        )

        def value(t: tirx.Var, h: tirx.Var, k: tirx.Var) -> tirx.Expr:
            scale = tirx.Select(h < heads, tirx.const(width**-0.5, "float32"), tirx.const(1.0, "float32"))
            return convolved[t, h * width + k] * tirx.rsqrt(squares[t, h] + _float(_L2_EPSILON)) * scale

        return te.compute(shape, value, name="normalised")

    def _recall(self, inputs: Sequence[Tensor], memory: Tensor) -> Tensor:
        """What the delta rule reads for each position, (T, value heads, value_head_dim); a chunk at a time."""
        linear = self.linear
        qk, _, beta, decay = inputs
        length = qk.shape[0]
        output = _empty(length, linear.num_value_heads, linear.value_head_dim)
        if length == 1:
            kernel, name, given = delta_rule.step_kernel(linear), "delta_rule_step", list(inputs)
        else:
            size = delta_rule.CHUNK
            square = _empty((length + size - 1) // size, linear.num_value_heads, size, size)
            systems = delta_rule.systems_kernel(linear)
            solved = op.tensor_ir_op(systems, "delta_rule_systems", [qk, beta, decay], [square, square])
            kernel, name, given = delta_rule.scan_kernel(linear), "delta_rule_scan", [*inputs, *solved]
        arguments = [*given, memory]
        return op.tensor_ir_inplace_op(kernel, name, arguments, [len(given), -1], [memory, output])[1]

    def _gated_norm(self, recalled: Tensor, projected: Tensor) -> Tensor:
        """RMSNorm per head, times the weight and SiLU of the gate z: (1, T, value_size) float32."""
        width, first = self.linear.value_head_dim, self.linear.conv_channels

        def norm(x: te.Tensor, z: te.Tensor, weight: te.Tensor) -> te.Tensor:
            mean = mean_of_squares(x)

            def value(_: tirx.Var, t: tirx.Var, c: tirx.Var) -> tirx.Expr:
                gate = z[0, t, first + c]
                scale = tirx.rsqrt(mean[t, c // width] + _float(self.eps)) * weight[c % width].astype("float32")
                return x[t, c // width, c % width] * scale * gate * delta_rule.sigmoid(gate)

            return te.compute((_int64(1), x.shape[0], _int64(self.linear.value_size)), value, name="gated_norm")

        return op.tensor_expr_op(norm, "gated_norm", [recalled, projected, self.norm.weight])


class Qwen3_5DecoderLayer(nn.Module):  # noqa: N801
    """Linear or full attention, and an MLP, each after a norm and beside a residual connection."""

    def __init__(self, config: ModelConfig, kind: str) -> None:
        if kind == "linear_attention":
            self.linear_attn = Qwen3_5GatedDeltaNet(config)
        else:
            self.self_attn = Qwen3_5Attention(config)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = ZeroCentredNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = ZeroCentredNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, kv_cache: PagedKVCache, layer_id: int, state: Iterator[Tensor]) -> Tensor:
        """(1, T, D) to (1, T, D); takes its tensors from `state`, or uses the cache's layer `layer_id`."""
        if hasattr(self, "linear_attn"):
            x = self.linear_attn(x, self.input_layernorm, next(state), next(state))
        else:
            x = self.self_attn(x, self.input_layernorm, kv_cache, layer_id)
        return self.mlp(x, self.post_attention_layernorm, residual=x)


class Qwen3_5TextModel(nn.Module):  # noqa: N801
    """The embedding table, the layers and the final norm."""

    def __init__(self, config: ModelConfig) -> None:
        assert config.layer_types is not None
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Qwen3_5DecoderLayer(config, kind) for kind in config.layer_types])
        self.norm = ZeroCentredNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, input_embed: Tensor, kv_cache: PagedKVCache, state: Sequence[Tensor]) -> Tensor:
        """(1, T, D) to the last layer's hidden states after the final norm, (1, T, D)."""
        x, tensors, layer_id = input_embed, iter(state), 0
        for layer in self.layers:
            x = layer(x, kv_cache, layer_id, tensors)
            layer_id += hasattr(layer, "self_attn")
        return self.norm(x)


class Qwen3_5ForCausalLM(LlamaForCausalLM):  # noqa: N801
    """Llama with those layers, some of which keep a recurrent state."""

    def base_model(self, config: ModelConfig) -> nn.Module:
        """Qwen3.5's."""
        return Qwen3_5TextModel(config)

    def get_last_hidden(
        self, input_embed: Tensor, paged_kv_cache: PagedKVCache, *recurrent_state: list[Tensor]
    ) -> Tensor:
        """(1, T, D) to (1, T, D)."""
        return self.model(input_embed, paged_kv_cache, [tensor for each in recurrent_state for tensor in each])


def _empty(*shape: int | tirx.Expr) -> Tensor:
    return Tensor.placeholder(list(shape), "float32")


def _int64(value: int) -> tirx.Expr:
    return tirx.IntImm("int64", value)


def _float(value: float) -> tirx.Expr:
    return tirx.const(value, "float32")
