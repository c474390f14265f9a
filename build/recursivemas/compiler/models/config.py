"""The configuration of a decoder: one typed record for all families."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Llama3Scaling:
    """RoPE frequencies stretched for long contexts as Llama 3.1 does it.

    Attributes:
        factor: Divides low frequencies.
        low_freq_factor: Low frequencies have wavelengths above original_max_position_embeddings / low_freq_factor.
        high_freq_factor: High frequencies, which stay, have wavelengths below original_max_position_embeddings /
            high_freq_factor.
        original_max_position_embeddings: Context length of pre-training, in tokens.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def stretch(self, plain: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Stretches frequencies of plain RoPE, in radians per position."""
        turns = np.float32(self.original_max_position_embeddings) * plain / np.float32(2 * np.pi)
        spread = np.float32(self.high_freq_factor - self.low_freq_factor)
        smooth = np.clip((turns - np.float32(self.low_freq_factor)) / spread, 0, 1)
        return np.asarray((1 - smooth) * plain / np.float32(self.factor) + smooth * plain, np.float32)


@dataclass(frozen=True)
class LinearScaling:
    """RoPE frequencies that are all divided by one number.

    Attributes:
        factor: The number.
    """

    factor: float

    def stretch(self, plain: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Stretches frequencies of plain RoPE, in radians per position."""
        return np.asarray(plain / np.float32(self.factor), np.float32)


@dataclass(frozen=True)
class SlidingLayers:
    """Layers that attend to the nearest positions only, with a RoPE of their own.

    Attributes:
        window: How many positions a position attends to, itself included.
        rope_theta: Base of their RoPE.
        rope_scaling: None for plain RoPE.
    """

    window: int
    rope_theta: float
    rope_scaling: LinearScaling | None = None


@dataclass(frozen=True)
class LinearAttention:
    """The shape of the gated delta networks that take the place of attention in some layers.

    Attributes:
        num_key_heads: Heads of queries and keys.
        num_value_heads: Heads of values; a multiple of `num_key_heads`.
        key_head_dim: Width of a query or key head.
        value_head_dim: Width of a value head.
        conv_kernel_dim: Positions that the causal convolution sees.
    """

    num_key_heads: int
    num_value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel_dim: int

    @property
    def value_heads_per_key_head(self) -> int:
        """How many value heads share a key head; they follow each other."""
        return self.num_value_heads // self.num_key_heads

    @property
    def first_value_channel(self) -> int:
        """Where the values begin among the convolved channels, after queries and keys."""
        return 2 * self.num_key_heads * self.key_head_dim

    @property
    def value_size(self) -> int:
        """Width of all value heads together."""
        return self.num_value_heads * self.value_head_dim

    @property
    def conv_channels(self) -> int:
        """Channels that are convolved: queries, keys, values."""
        return self.first_value_channel + self.value_size

    @property
    def state_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """What a layer carries from position to position, in float32: the convolution's last inputs, and the heads'
        memories."""
        memory = (self.num_value_heads * self.key_head_dim, self.value_head_dim)
        return (self.conv_kernel_dim - 1, self.conv_channels), memory


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only transformer with RMSNorm, RoPE, grouped-query attention and a gated MLP.

    Attributes:
        model_type: Hugging Face's and MLC's name of the family.
        qkv_name: MLC's name of the fused query, key and value projection in this family.
        qkv_bias: Whether the query, key and value projections have biases.
        o_bias: Whether the attention's output projection has a bias.
        qk_norm: Whether queries and keys are RMS-normalised per head before RoPE.
        head_dim: Width of one attention head; independent of hidden_size.
        max_position_embeddings: Longest context of the checkpoint, in tokens.
        context_window_size: Longest context of the compiled library, in tokens.
        prefill_chunk_size: Longest input of one call of the compiled library, in tokens.
        rope_scaling: None for plain RoPE.
        rotary_dim: How many of a head's values RoPE rotates, from the first on; None for all.
        layer_types: `full_attention`, `linear_attention` or `sliding_attention` for each layer; None if every layer has
            full attention.
        linear: The layers with linear attention; None if there are none.
        sliding: The layers with sliding attention; None if the family has none.
        query_pre_attn_scalar: Attention scores are divided by its square root; None for head_dim.
    """

    model_type: str
    qkv_name: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    tie_word_embeddings: bool
    qkv_bias: bool
    o_bias: bool
    qk_norm: bool
    max_position_embeddings: int
    context_window_size: int
    prefill_chunk_size: int
    rope_theta: float
    rope_scaling: Llama3Scaling | LinearScaling | None = None
    rotary_dim: int | None = None
    layer_types: tuple[str, ...] | None = None
    linear: LinearAttention | None = None
    sliding: SlidingLayers | None = None
    query_pre_attn_scalar: int | None = None

    @property
    def num_linear_layers(self) -> int:
        """Layers with linear attention, which have a recurrent state."""
        return (self.layer_types or ()).count("linear_attention")

    @property
    def num_attention_layers(self) -> int:
        """Layers with a KV cache."""
        return self.num_hidden_layers - self.num_linear_layers

    @property
    def recurrent_state_shapes(self) -> tuple[tuple[int, int], ...]:
        """Shapes of the recurrent state's float32 tensors, layer by layer."""
        return () if self.linear is None else self.linear.state_shapes * self.num_linear_layers

    @property
    def recurrent_state_bytes(self) -> int:
        """Size of the recurrent state."""
        return sum(4 * math.prod(shape) for shape in self.recurrent_state_shapes)

    @property
    def q_size(self) -> int:
        """Width of all query heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key (or value) heads together."""
        return self.num_key_value_heads * self.head_dim

    def rope_frequencies(self) -> npt.NDArray[np.float32]:
        """Angle per position of each rotated pair, in layers with full attention.

        Returns:
            (rotary_dim / 2,) float32, radians per position.
        """
        return frequencies(self.rope_theta, self.rotary_dim or self.head_dim, self.rope_scaling)

    def local_rope_frequencies(self) -> npt.NDArray[np.float32]:
        """The same in layers with sliding attention."""
        assert self.sliding is not None
        return frequencies(self.sliding.rope_theta, self.rotary_dim or self.head_dim, self.sliding.rope_scaling)


def frequencies(theta: float, width: int, scaling: Llama3Scaling | LinearScaling | None) -> npt.NDArray[np.float32]:
    """Angle per position of each pair that RoPE rotates.

    Source: RoFormer, section 3.4.2; the llama3 scaling of Llama 3.1's release. It is computed in float32 like in
    transformers, because a different rounding shows at long positions.

    Args:
        theta: The base.
        width: How many values of a head are rotated.
        scaling: What stretches the frequencies.

    Returns:
        (width / 2,) float32, radians per position.
    """
    exponent = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    plain = np.asarray(np.float32(1) / np.power(np.float32(theta), exponent), np.float32)
    return plain if scaling is None else scaling.stretch(plain)
