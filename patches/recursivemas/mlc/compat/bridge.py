"""The record of one difference between MLC-LLM and the pinned TVM."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Bridge:
    """One difference, bridged in memory.

    Attributes:
        name: Short and unique.
        reason: What MLC-LLM expects, what TVM has, and what the bridge does about it.
        apply: Bridges it; a second call changes nothing.
    """

    name: str
    reason: str
    apply: Callable[[], None]
