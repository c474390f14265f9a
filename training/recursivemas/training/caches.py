"""What layers with linear attention or a sliding window need in a rollout: their states and their masks.

Source: `cache_utils.py` and `modeling_qwen3_5.py` of transformers, which overwrite a state in place; here every update
makes a new tensor, so that gradients flow through it and a padded position can keep the old one.

Shape letters: B batch, T positions so far, Q new positions.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer

LINEAR, SLIDING = "linear_attention", "sliding_attention"


class LinearState(LinearAttentionLayer):  # type: ignore[misc]
    """The state of a layer with linear attention: the convolution's last inputs, and the heads' memories."""

    def __init__(self) -> None:
        super().__init__()
        # transformers then takes the convolution of one position through `update_conv_state`, too.
        self.record_past = True

    def update_conv_state(
        self, conv_states: Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **_: Any
    ) -> Tensor:
        """(B, channels, Q) new inputs to those that the convolution sees, (B, channels, kept + Q)."""
        assert conv_kernel_size is not None
        before = self.conv_states[state_idx]
        if before is None:
            before = conv_states.new_zeros(*conv_states.shape[:2], conv_kernel_size - 1)
        seen = torch.cat([before, conv_states], dim=-1)
        self.conv_states[state_idx] = seen[..., seen.shape[-1] - before.shape[-1] :]
        self.has_previous_state[state_idx] = self.is_conv_states_initialized[state_idx] = True
        return seen

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **_: Any) -> Tensor:
        """Keeps the (B, heads, key width, value width) memories."""
        self.recurrent_states[state_idx] = recurrent_states
        self.is_recurrent_states_initialized[state_idx] = True
        return recurrent_states


def layer_kinds(config: Any) -> list[str]:
    """The kind of each layer of a model, in the names of transformers."""
    text = config.get_text_config(decoder=True)
    window = getattr(text, "sliding_window", None) is not None
    return list(
        getattr(text, "layer_types", None) or [SLIDING if window else "full_attention"] * text.num_hidden_layers
    )


def lay_out(cache: Any, kinds: list[str]) -> None:
    """Gives an empty cache the layers of a model with linear attention; others grow as they are needed.

    A sliding window keeps every position, because which ones it hides depends on the padding of each sample.
    """
    if LINEAR in kinds and not cache.layers:
        cache.layers = [LinearState() if kind == LINEAR else DynamicLayer() for kind in kinds]


def masks(config: Any, kinds: list[str], valid: Tensor, past: int, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """The masks of the positions after `past`, where some are padding.

    Args:
        config: Of the model.
        kinds: From `layer_kinds`.
        valid: (B, T + Q) bool; False for padding.
        past: T.
        dtype: Of the masks.

    Returns:
        The mask of all layers, or one for each kind of layer. That of attention is (B, 1, Q, T + Q), 0 where a query
        sees a key, else the dtype's smallest number. That of linear attention is (B, Q) bool.
    """
    window = getattr(config.get_text_config(decoder=True), "sliding_window", None)
    made: dict[str, Tensor] = {}
    for kind in set(kinds):
        if kind == LINEAR:
            made[kind] = valid[:, past:]
        else:
            made[kind] = _attention_mask(valid, past, dtype, window if kind == SLIDING else None)
    return made if len(made) > 1 else next(iter(made.values()))


def _attention_mask(valid: Tensor, past: int, dtype: torch.dtype, window: int | None) -> Tensor:
    """Additive mask: causal, within the window, and padding is hidden.

    A padded position sees itself, because a softmax over nothing would be NaN.
    """
    keys = torch.arange(valid.shape[1], device=valid.device)  # (T + Q,)
    queries = keys[past:, None]  # (Q, 1)
    allowed = valid[:, None] & (keys <= queries)  # (B, Q, T + Q)
    if window is not None:
        numbers = valid.long().cumsum(1)  # (B, T + Q); padding takes up no place in a window
        allowed = allowed & (numbers[:, past:, None] - numbers[:, None] < window)
    allowed = allowed | (keys == queries)
    mask = torch.zeros(allowed.shape, dtype=dtype, device=valid.device)
    return mask.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


def keep_states(cache: Any, valid: Tensor) -> Callable[[], None]:
    """Remembers the states before positions are fed that are padding to some samples.

    Args:
        cache: With `LinearState` layers among others.
        valid: (B,) bool; False for samples to which all of the positions are padding.

    Returns:
        A function that gives those samples their states back after the call.
    """
    layers = [layer for layer in cache.layers if isinstance(layer, LinearState)]
    before = [(layer.conv_states[0], layer.recurrent_states[0]) for layer in layers]

    def restore() -> None:
        for layer, (inputs, memory) in zip(layers, before, strict=True):
            layer.conv_states[0] = torch.where(valid[:, None, None], layer.conv_states[0], inputs)
            layer.recurrent_states[0] = torch.where(valid[:, None, None, None], layer.recurrent_states[0], memory)

    return restore
