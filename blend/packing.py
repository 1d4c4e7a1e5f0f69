"""Packing: many short runs of tokens in one forward pass in which none sees another (Prepacking, arXiv 2404.09529)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from blend.prefill import Prefill, out_of_reach
from codec import KVArray, KVSpec, LayerGroup


class Packing(Prefill):
    """The runs side by side; positions start again at each."""

    def __init__(self, spec: KVSpec, lengths: Sequence[int], device: torch.device | str = "cpu") -> None:
        super().__init__(spec)
        self._lengths, self._kv = list(lengths), KVArray.empty(spec, sum(lengths), device)
        self.rows = torch.arange(sum(lengths), device=device)
        self.positions = torch.cat([torch.arange(length, device=device) for length in lengths])
        numbers = torch.arange(len(self._lengths), device=device)
        self._run = numbers.repeat_interleave(torch.tensor(self._lengths, device=device))

    @property
    def columns(self) -> torch.Tensor:
        return self.rows

    def put(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._kv.keys[layer].copy_(keys)
        self._kv.values[layer].copy_(values)
        return keys, values

    def _hidden(self, group: LayerGroup) -> torch.Tensor:
        return out_of_reach(self.positions, self.positions, group) | (self._run[:, None] != self._run)

    def runs(self) -> list[KVArray]:
        """Each run's KV: views."""
        ends = torch.tensor(self._lengths).cumsum(0).tolist()
        return [self._kv.tokens(end - length, end) for length, end in zip(self._lengths, ends, strict=True)]
