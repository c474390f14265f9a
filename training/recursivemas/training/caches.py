"""What a rollout keeps of the positions it has read: keys and values, states of linear attention, and masks.

Source: `cache_utils.py` and `modeling_qwen3_5.py` of transformers. Its layers concatenate keys and values anew at every
step, and autograd then keeps all of these copies; here new ones are written behind the old ones. It overwrites the
states of linear attention; here every update makes a new tensor, so that gradients flow through it and a padded
position can keep the old one.

Shape letters: B batch, H heads, T positions so far, Q new positions, D head size.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer

LINEAR, SLIDING = "linear_attention", "sliding_attention"
LEAST_ROOM = 16
"""Positions of room behind new ones where nobody says how many follow."""


class _Room:
    """Memory for keys or values of one layer.

    Attributes:
        tensor: (B, H, room, D).
        used: How many positions are written. They are never written again, as views of them may be in use.
    """

    def __init__(self, like: Tensor, room: int) -> None:
        self.tensor = like.new_empty(*like.shape[:2], room, like.shape[3])
        self.used = 0

    @property
    def size(self) -> int:
        """How many positions there is memory for."""
        return self.tensor.shape[2]

    def write(self, new: Tensor) -> None:
        """Puts (B, H, Q, D) behind what is written."""
        self.tensor[:, :, self.used : self.used + new.shape[2]] = new.detach()
        self.used += new.shape[2]

    def read(self) -> Tensor:
        """All that is written, (B, H, T, D), in the same memory, but for autograd a tensor of its own."""
        # `.data` has a version counter of its own: what is written behind these positions does not change them.
        return self.tensor[:, :, : self.used].data


class _Appended(torch.autograd.Function):
    """Keys and values of all positions, where those before are in memory already.

    A stand-in goes from one call to the next, and the gradient that comes back for it is that of all keys and values
    that have one. Every call adds its own part in place and takes what belongs to its new positions. So nothing of the
    size of the whole cache is kept or copied for each call, and positions without a gradient get none.
    """

    @staticmethod
    def forward(
        ctx: Any, before: Tensor | None, keys: Tensor, _values: Tensor, rooms: tuple[_Room, _Room], first: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gives what the rooms hold, (B, H, T + Q, D), and the next stand-in.

        Args:
            ctx: Of autograd.
            before: The stand-in of positions before; None if those have no gradient.
            keys: (B, H, Q, D) new ones, which the rooms hold already; values likewise.
            rooms: Of keys and values.
            first: The first position that has a gradient.
        """
        batch, heads, new, size = keys.shape
        ctx.set_materialize_grads(False)
        ctx.before = None if before is None else before.shape
        ctx.shape = (2, batch, heads, rooms[0].size - first, size)
        ctx.at, ctx.new = rooms[0].used - new - first, new
        return rooms[0].read(), rooms[1].read(), keys.new_zeros(()).expand(ctx.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Adds the gradients of keys and values to those of later calls; parts off those of the new ones."""
        *own, later = gradients
        end = ctx.at + ctx.new
        given = next((each for each in gradients if each is not None), None)
        if given is None:
            return None, None, None, None, None
        total = given.new_zeros(ctx.shape) if later is None else later
        for part, gradient in zip(total, own, strict=True):
            if gradient is not None:
                part[:, :, :end] += gradient[:, :, -end:]
        keys, values = total[:, :, :, ctx.at : end]
        before = None if ctx.before is None else total[:, :, :, : ctx.before[3]]
        return before, keys, values, None, None


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a layer with attention, in memory that has room for positions to come.

    Gradients flow through it. A copy that shares its memory may go on from the same positions: who comes first writes
    behind them, and the other one then gets memory of its own.

    Attributes:
        expected: How many positions there will be, as far as anybody knows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.expected = 0
        self._rooms: tuple[_Room, _Room] | None = None
        self._first = 0
        self._stand_in: Tensor | None = None

    def put(self, keys: Tensor, values: Tensor) -> None:
        """Replaces what the layer holds by (B, H, T, D) keys and values, without gradient."""
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.keys, self.values = keys.detach(), values.detach()
        self._rooms, self._stand_in = None, None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Appends (B, H, Q, D) keys and values; returns all, (B, H, T + Q, D)."""
        if not self.is_initialized:
            self.put(key_states[:, :, :0], value_states[:, :, :0])
        rooms, past = self._rooms_behind(key_states), self.keys.shape[2]
        rooms[0].write(key_states)
        rooms[1].write(value_states)
        if torch.is_grad_enabled() and (self._stand_in is not None or key_states.requires_grad):
            self._first = past if self._stand_in is None else self._first
            # torch leaves this without types.
            self.keys, self.values, self._stand_in = _Appended.apply(  # type: ignore[no-untyped-call]
                self._stand_in, key_states, value_states, rooms, self._first
            )
        else:
            self.keys, self.values = rooms[0].read(), rooms[1].read()
        return self.keys, self.values

    def _rooms_behind(self, new: Tensor) -> tuple[_Room, _Room]:
        """The memory of keys and values, where (B, H, Q, D) new ones can be written next."""
        past, length = self.keys.shape[2], self.keys.shape[2] + new.shape[2]
        if self._rooms is None or self._rooms[0].used != past or self._rooms[0].size < length:
            size = self.expected if self.expected >= length else length + max(LEAST_ROOM, past // 4)
            if self._rooms is not None:  # a stand-in of a later call is never smaller than that of an earlier one
                size = max(size, self._rooms[0].size)
            self._rooms = _Room(new, size), _Room(new, size)
            self._rooms[0].write(self.keys)
            self._rooms[1].write(self.values)
        return self._rooms


def fork_layer(layer: Any) -> Any:
    """A copy that goes on by itself; it may share tensors, because what changes becomes a new one, but no lists."""
    forked = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, list | dict):
            setattr(forked, name, value.copy())
    return forked


def layer_rows(layer: Any, indices: Tensor) -> Any:
    """A copy of a layer that holds the samples with these indices, without gradient."""
    chosen = fork_layer(layer)
    if isinstance(layer, GrowingLayer):
        at = indices.to(layer.keys.device)
        chosen.put(layer.keys[at], layer.values[at])
        return chosen
    for states in (chosen.conv_states, chosen.recurrent_states):
        for index, state in states.items():
            states[index] = None if state is None else state.detach()[indices.to(state.device)]
    return chosen


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


def lay_out(cache: Any, kinds: list[str], expected: int) -> None:
    """Gives an empty cache its layers, and every layer with attention room.

    A sliding window keeps every position, because which ones it hides depends on the padding of each sample.

    Args:
        cache: Of transformers.
        kinds: From `layer_kinds`.
        expected: How many positions there will be, as far as anybody knows.
    """
    if not cache.layers:
        cache.layers = [LinearState() if kind == LINEAR else GrowingLayer() for kind in kinds]
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            layer.expected = expected


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
