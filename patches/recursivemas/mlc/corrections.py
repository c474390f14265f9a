"""Corrects families that MLC-LLM defines differently from the checkpoint's own code in transformers.

Each entry says what differs; `tests/patches` compares every corrected family with transformers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LocalRope:
    """A second RoPE base for a model's sliding layers.

    Attributes:
        theta: Its base.
        layers: The layers that use it.
    """

    theta: float
    layers: frozenset[int]


@dataclass(frozen=True)
class Corrections:
    """The corrections of a family.

    Attributes:
        reason: What MLC-LLM does and what the checkpoint's own code does.
        interleaved_rope: Whether RoPE rotates neighbouring pairs instead of halves.
        logit_scale: Multiplies logits.
        local_rope: The RoPE base of sliding layers, if they have one of their own.
        tanh_gelu: Whether GELU has its tanh form.
        score_cap: Soft cap of attention scores.
    """

    reason: str = ""
    interleaved_rope: bool = False
    logit_scale: float = 1.0
    local_rope: LocalRope | None = None
    tanh_gelu: bool = False
    score_cap: float | None = None


def corrections_for(architecture: str, config: Any, raw: Mapping[str, Any]) -> Corrections:
    """The corrections of one model.

    Args:
        architecture: MLC-LLM's name.
        config: MLC-LLM's configuration object.
        raw: `config.json` in the spelling of transformers 4.
    """
    rule = _RULES.get(architecture)
    return Corrections() if rule is None else rule(config, raw)


def _cohere(_: Any, raw: Mapping[str, Any]) -> Corrections:
    return Corrections(
        "Cohere turns neighbouring pairs and scales its logits by logit_scale; MLC-LLM turns halves and does not "
        "scale.",
        interleaved_rope=True,
        logit_scale=float(raw.get("logit_scale", 0.0625)),
    )


def _gptj(_: Any, raw: Mapping[str, Any]) -> Corrections:
    return Corrections("GPT-J turns neighbouring pairs; MLC-LLM turns halves.", interleaved_rope=True)


def _gpt_bigcode(_: Any, raw: Mapping[str, Any]) -> Corrections:
    return Corrections(
        "GPT-BigCode's activation is what activation_function says, by default GELU's tanh form; MLC-LLM uses "
        "the erf form.",
        tanh_gelu=raw.get("activation_function", "gelu_pytorch_tanh") in ("gelu_pytorch_tanh", "gelu_new", "gelu_fast"),
    )


def _gemma2(_: Any, raw: Mapping[str, Any]) -> Corrections:
    cap = raw.get("attn_logit_softcapping", 50.0)
    if cap is None:
        return Corrections()
    return Corrections(
        f"Gemma 2's attention scores are soft-capped at attn_logit_softcapping ({cap:g}); MLC-LLM does not cap them.",
        score_cap=float(cap),
    )


def _gemma3(config: Any, raw: Mapping[str, Any]) -> Corrections:
    text = raw.get("text_config") or raw
    pattern = config.text_config.sliding_window_pattern
    layers = frozenset(layer for layer in range(config.text_config.num_hidden_layers) if (layer + 1) % pattern)
    return Corrections(
        "Gemma 3's sliding layers use the RoPE base rope_local_base_freq; MLC-LLM uses one base for all layers.",
        local_rope=LocalRope(float(text.get("rope_local_base_freq", 10000.0)), layers),
    )


_RULES: dict[str, Callable[[Any, Mapping[str, Any]], Corrections]] = {
    "cohere": _cohere,
    "gpt_bigcode": _gpt_bigcode,
    "gptj": _gptj,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gemma3_text": _gemma3,
}
