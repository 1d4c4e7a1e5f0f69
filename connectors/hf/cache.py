"""StoreCache: transformers' dynamic cache, grown in place instead of by concatenation.

The stock layers copy everything they hold at every token. Ours append into a tensor with room, so that
loaded KV is decoded straight to where attention reads it, decoding copies one token instead of all, and
what was written stays where it is: a save may read it while generation goes on. Windowed layers keep
their whole history too (attention still sees only the window), because a chunk behind the window must
be saved before it is forgotten; that memory is given back when `generate` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from codec import KVArray, KVSpec

_GROWTH = 1.5


class Tape:
    """A tensor `[batch, kv_head, token, dim]` that grows along its tokens, in place while there is room."""

    def __init__(self, buffer: torch.Tensor, length: int) -> None:
        self.buffer, self.length = buffer, length

    @classmethod
    def holding(cls, states: torch.Tensor, room: int) -> Tape:
        """A copy of `states` with room for `room` more tokens."""
        batch, heads, length, dim = states.shape
        tape = cls(states.new_empty((batch, heads, length + room, dim)), 0)
        tape.append(states)
        return tape

    def append(self, states: torch.Tensor) -> None:
        end = self.length + states.shape[2]
        if end > self.buffer.shape[2]:
            batch, heads, _, dim = self.buffer.shape
            grown = self.buffer.new_empty((batch, heads, int(end * _GROWTH), dim))
            grown[:, :, : self.length] = self.view()
            self.buffer = grown
        self.buffer[:, :, self.length : end] = states
        self.length = end

    def view(self, last: int | None = None) -> torch.Tensor:
        """All tokens, or the last `last` of them."""
        start = 0 if last is None else max(0, self.length - last)
        return self.buffer[:, :, start : self.length]


class _InPlace:
    """What both layer kinds share: two tapes, and noticing when someone replaced the tensors they show.

    Beam search and `batch_repeat_interleave` assign new tensors to `keys` and `values`; the tapes then
    start over from those.
    """

    keys: torch.Tensor
    values: torch.Tensor
    room = 0
    """Tokens to leave room for beyond the first ones appended."""
    _tapes: tuple[Tape, Tape] | None = None
    _shown: tuple[torch.Tensor, torch.Tensor] | None = None

    def restore(self, keys: torch.Tensor, values: torch.Tensor, length: int) -> None:
        """Takes over buffers `[batch, kv_head, token, dim]` whose first `length` tokens are held already."""
        self.lazy_initialization(keys, values)  # type: ignore[attr-defined]
        self._tapes = Tape(keys, length), Tape(values, length)
        if hasattr(self, "cumulative_length"):
            self.cumulative_length = length
        self._show(length)

    def history(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values `[batch, kv_head, token, dim]` of all tokens since the last reordering."""
        assert self._tapes is not None, "nothing was ever appended"
        return self._tapes[0].view(), self._tapes[1].view()

    def _extend(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[Tape, Tape]:
        shown = self._shown is not None and self.keys is self._shown[0] and self.values is self._shown[1]
        if self._tapes is not None and shown:
            self._tapes[0].append(keys)
            self._tapes[1].append(values)
        elif not self.keys.numel():
            self._tapes = Tape.holding(keys, self.room), Tape.holding(values, self.room)
        else:
            self._tapes = Tape.holding(self.keys, self.room), Tape.holding(self.values, self.room)
            self._tapes[0].append(keys)
            self._tapes[1].append(values)
        return self._tapes

    def _show(self, last: int) -> None:
        """What other code sees as the layer's tensors: views of the last tokens."""
        assert self._tapes is not None
        self.keys, self.values = self._tapes[0].view(last), self._tapes[1].view(last)
        self._shown = self.keys, self.values


class GrowingLayer(_InPlace, DynamicLayer):
    """Full attention."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[Any, Any]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._show(self._extend(key_states, value_states)[0].length)
        return self.keys, self.values


class GrowingSlidingLayer(_InPlace, DynamicSlidingWindowLayer):
    """Sliding-window attention: shows the last `sliding_window - 1` tokens and whatever is new."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[Any, Any]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        key_tape, value_tape = self._extend(key_states, value_states)
        self.cumulative_length += key_states.shape[2]
        self._show(self.sliding_window - 1)
        visible = self.sliding_window - 1 + key_states.shape[2]
        return key_tape.view(visible), value_tape.view(visible)


class StoreCache(DynamicCache):
    """A cache for `generate` whose rows can be restored from the store and read back for it."""

    def __init__(self, config: Any, room: int) -> None:
        """`room`: how many tokens beyond the prompt to leave room for from the start."""
        super().__init__()
        self.layers: list[Any] = [
            GrowingSlidingLayer(layer.sliding_window) if layer.is_sliding else GrowingLayer()
            for layer in DynamicCache(config=config).layers
        ]
        for layer in self.layers:
            layer.room = room

    def restore(self, buffers: Sequence[tuple[torch.Tensor, torch.Tensor]], length: int) -> None:
        """Per layer, keys and values `[batch, kv_head, token, dim]`; their first `length` tokens are held."""
        for layer, (keys, values) in zip(self.layers, buffers, strict=True):
            layer.restore(keys, values, length)

    def row(self, spec: KVSpec, row: int, start: int, end: int) -> KVArray | None:
        """Views of one row's columns [start, end); None when a reordering has dropped some of them."""
        held = self.get_seq_length()
        keys, values = [], []
        for layer in self.layers:
            layer_keys, layer_values = layer.history()
            first = held - layer_keys.shape[2]
            if start < first or end > held:
                return None
            keys.append(layer_keys[row, :, start - first : end - first])
            values.append(layer_values[row, :, start - first : end - first])
        return KVArray(spec, tuple(keys), tuple(values))
