"""What the kernels of attention must know of a layer."""

from dataclasses import dataclass

PAGE = 16
"""Positions that a page of the KV cache holds."""


@dataclass(frozen=True)
class AttentionShape:
    """One kind of attention layer; equal layers share their kernels.

    Attributes:
        heads: Query heads.
        kv_heads: Key (or value) heads; `heads` is a multiple of it.
        head_dim: Width of a head, a multiple of 4.
        dtype: Of activations and of the cache.
        scale: What scores are multiplied by.
        context: Most positions of a sequence.
        rotary_dim: How many of a head's first values RoPE turns.
        table: Row of the table of RoPE frequencies.
        eps: Of the RMSNorm of each query and key head, or None for no norm.
        zero_centred: Whether that norm multiplies by 1 + weight.
        query_stride: Columns from one query head to the next in the fused projection: head_dim, or twice that where an
            output gate follows each head.
        window: How many positions a position attends to, itself included; None for all.
    """

    heads: int
    kv_heads: int
    head_dim: int
    dtype: str
    scale: float
    context: int
    rotary_dim: int
    table: int = 0
    eps: float | None = None
    zero_centred: bool = False
    query_stride: int = 0
    window: int | None = None

    @property
    def group(self) -> int:
        """Query heads that share a key head."""
        return self.heads // self.kv_heads

    @property
    def shared_heads(self) -> int:
        """Query heads that one workgroup computes together: the most that divide a group, at most 8."""
        return max(each for each in range(1, 9) if self.group % each == 0)

    @property
    def head_splits(self) -> int:
        """Workgroups that share a key head."""
        return self.group // self.shared_heads

    @property
    def columns(self) -> int:
        """Width of the fused projection."""
        return self.heads * self.query_stride + 2 * self.kv_heads * self.head_dim
