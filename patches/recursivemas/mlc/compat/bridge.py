"""What one difference between MLC-LLM and the pinned TVM is."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Bridge:
    """One difference, bridged in memory.

    Attributes:
        name: Short and unique, as the tests and the documentation name it.
        reason: What MLC-LLM expects, what it meets, and what the bridge does about it.
        apply: Does it; calling it again changes nothing more.
    """

    name: str
    reason: str
    apply: Callable[[], None]
