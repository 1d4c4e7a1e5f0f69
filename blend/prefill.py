"""Prefill: one forward pass over some tokens that is told of every layer, and may change what the layer is given."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from codec import KVSpec, LayerGroup


class Prefill(ABC):
    """Whoever runs the model asks before each layer, and hands over the layer's keys and values."""

    rows: torch.Tensor
    """Which of the tokens given to the model are being computed now: int64 `[active]`, ascending."""
    positions: torch.Tensor
    """Where these stand, int64 `[active]`."""

    def __init__(self, spec: KVSpec) -> None:
        self._group_of = spec.group_of
        self._masks: dict[int | None, torch.Tensor | None] = {}

    @property
    @abstractmethod
    def columns(self) -> torch.Tensor:
        """Which of the tokens they attend to these are themselves, int64 `[active]`, ascending."""

    def probes(self, layer: int) -> bool:
        """Whether `narrow` needs that layer's keys and values of all active tokens."""
        return False

    def narrow(self, layer: int, fresh: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor | None:
        """Which of the active tokens go on into this layer, as indices into them; None: all.

        `fresh` keys and values `[kv_head, active, dim]` where `probes` says so.
        """
        return None

    @abstractmethod
    def put(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes the layer's new KV `[kv_head, active, dim]`; returns what these tokens attend to."""

    def mask(self, layer: int, dtype: torch.dtype) -> torch.Tensor | None:
        """To be added to attention scores, `[1, 1, active, token]`: 0 where a token is seen; None: all before it."""
        group = self._group_of[layer]
        if group.window not in self._masks:
            hidden = self._hidden(group)
            self._masks[group.window] = None if hidden is None else _additive(hidden, dtype)
        return self._masks[group.window]

    @abstractmethod
    def _hidden(self, group: LayerGroup) -> torch.Tensor | None:
        """Which tokens the active ones do not see, bool `[active, token]`; None: those behind them.

        Asked once for each window, until `_masks` is cleared.
        """


def _additive(hidden: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is hidden gets the lowest number there is."""
    lowest, zero = (torch.tensor(number, dtype=dtype, device=hidden.device) for number in (torch.finfo(dtype).min, 0))
    return torch.where(hidden, lowest, zero)[None, None]


def out_of_reach(positions: torch.Tensor, others: torch.Tensor, group: LayerGroup) -> torch.Tensor:
    """Which `others` a layer of this group does not see from each of `positions`: those ahead, and those behind its
    window. All int64 `[token]`; returns bool `[position, other]`."""
    ahead = others > positions[:, None]
    return ahead if group.window is None else ahead | (others <= (positions - group.window)[:, None])
