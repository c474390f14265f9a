"""The configuration of a decoder: one typed record for all families."""

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
class ModelConfig:
    """A decoder-only transformer with RMSNorm, RoPE, grouped-query attention and a gated SiLU MLP.

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
    rope_scaling: Llama3Scaling | None = None

    @property
    def q_size(self) -> int:
        """Width of all query heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key (or value) heads together."""
        return self.num_key_value_heads * self.head_dim

    def rope_frequencies(self) -> npt.NDArray[np.float32]:
        """Angle per position of each rotated pair.

        Source: RoFormer, section 3.4.2; the llama3 scaling of Llama 3.1's release. It is computed in float32 like in
        transformers, because a different rounding shows at long positions.

        Returns:
            (head_dim / 2,) float32, radians per position.
        """
        exponent = np.arange(0, self.head_dim, 2, dtype=np.float32) / np.float32(self.head_dim)
        plain = np.asarray(np.float32(1) / np.power(np.float32(self.rope_theta), exponent), np.float32)
        return plain if self.rope_scaling is None else self.rope_scaling.stretch(plain)
