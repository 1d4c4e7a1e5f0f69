"""Fusion: one prompt's KV made of stored and computed parts, layer by layer, while the model runs.

The model computes all tokens through the first layers. At layer `Shares.from_layer` the tokens are scored
(`select.py`); only the reused tokens with the highest scores go on, and all tokens that are not reused. They attend
to everything before them: to what was stored, and to what is computed. From layer to layer fewer may go on, judged
by how far their own new KV was from the stored (CacheBlend, arXiv 2405.16444, sections 4.2 and 4.3).

Knows tensors and positions; whoever runs the model tells it of every layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from blend.prefill import Prefill, out_of_reach
from blend.select import Compared, Selector
from codec import KVArray, LayerGroup


@dataclass(frozen=True)
class Shares:
    """Of the reused tokens: `first` are recomputed at layer `from_layer`, `last` at the last one, and evenly fewer
    between. All of them before."""

    first: float
    last: float
    from_layer: int = 1

    @classmethod
    def averaging(cls, share: float, from_layer: int = 1) -> Shares:
        """So many on average from that layer on: twice as many at first, none at last, or as close to that as it gets.

        The deeper the layer, the more a token's KV depends on what stands before it, and the better it shows: who is
        chosen from many, layer after layer, is chosen better than who was chosen at once by the first faint signs.
        """
        first = min(2 * share, 1.0)
        return cls(first, 2 * share - first, from_layer)

    def at(self, layer: int, num_layers: int) -> float:
        if layer < self.from_layer:
            return 1.0
        along = (layer - self.from_layer) / max(num_layers - 1 - self.from_layer, 1)
        return self.first + (self.last - self.first) * along


class Fusion(Prefill):
    """The KV of a prompt whose first `start` tokens are exact, and some of the others reused."""

    def __init__(
        self,
        kv: KVArray,
        start: int,
        into_segment: torch.Tensor,
        selector: Selector,
        shares: Shares,
        wait: Callable[[int], object] = lambda layer: None,
    ) -> None:
        """`kv` has room for all tokens; it holds the exact ones and those reused, moved to their places.

        `into_segment` int64 `[token - start]`: how many tokens of its segment stand before a reused token, -1 for
        one that is not reused. Reused KV may come while the model runs: `wait(layer)` returns when that layer's is
        there.
        """
        super().__init__(kv.spec)
        self.start, self._kv, self._selector, self._shares = start, kv, selector, shares
        self._into_segment, self._num_layers, self._wait = into_segment, kv.spec.num_layers, wait
        self._num_reused = int((into_segment >= 0).sum())
        self.rows = torch.arange(kv.num_tokens - start, device=into_segment.device)
        self._scores: torch.Tensor | None = None

    @property
    def positions(self) -> torch.Tensor:  # type: ignore[override]
        return self.rows + self.start

    columns = positions

    def probes(self, layer: int) -> bool:
        return layer == self._shares.from_layer and self._num_reused > 0

    def narrow(self, layer: int, fresh: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor | None:
        if fresh is not None:
            self._wait(layer)
            self._scores = self._compared(layer, *fresh)
        kept = math.ceil(self._shares.at(layer, self._num_layers) * self._num_reused)
        reused = self._into_segment[self.rows] >= 0
        if self._scores is None or kept >= int(reused.sum()):
            return None
        scores = self._scores.masked_fill(~reused, math.inf)
        indices = scores.topk(kept + int((~reused).sum())).indices.sort().values
        self.rows, self._scores = self.rows[indices], self._scores[indices]
        self._masks.clear()
        return indices

    def put(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._wait(layer)
        if layer > self._shares.from_layer and self._shares.last < self._shares.first:
            self._scores = self._compared(layer, keys, values)
        positions = self.positions
        for room, new in ((self._kv.keys[layer], keys), (self._kv.values[layer], values)):
            room.index_copy_(1, positions, new.to(room.dtype))
        return self._kv.keys[layer], self._kv.values[layer]

    def _compared(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        positions, into = self.positions, self._into_segment[self.rows]
        stored = self._kv.keys[layer][:, positions].float(), self._kv.values[layer][:, positions].float()
        return self._selector.scores(Compared(layer, positions, into, (keys.float(), values.float()), stored))

    def _hidden(self, group: LayerGroup) -> torch.Tensor | None:
        num_tokens = self._kv.num_tokens
        if len(self.rows) == num_tokens and (group.window is None or group.window >= num_tokens):
            return None
        return out_of_reach(self.positions, torch.arange(num_tokens, device=self.rows.device), group)
