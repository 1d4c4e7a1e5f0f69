"""Which reused tokens to recompute: those whose stored KV differs most, in effect, from what stands in this prompt.

A selector scores tokens; the highest scores are recomputed. What it may look at is the KV of one layer, as computed
in this prompt and as it was stored. CacheBlend (arXiv 2405.16444, section 4.3) calls the tokens with the largest
difference those of high KV deviation (HKVD) and finds that they are about the same at every layer, because
attention is sparse: most tokens are read by hardly anyone, and differ from their stored KV by hardly anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from codec import Profile


@dataclass(frozen=True)
class Compared:
    """KV of tokens of one layer, float32, keys with their rotary embedding, at the same positions."""

    layer: int
    positions: torch.Tensor
    """Int64 `[token]`, in the prompt."""
    into_segment: torch.Tensor
    """Int64 `[token]`: how many tokens of its segment stand before it."""
    fresh: tuple[torch.Tensor, torch.Tensor]
    """Keys and values `[kv_head, token, dim]` as computed here."""
    stored: tuple[torch.Tensor, torch.Tensor]


class Selector(ABC):
    """Scores tokens for recomputation."""

    id: ClassVar[str]

    @abstractmethod
    def scores(self, compared: Compared) -> torch.Tensor:
        """Float32 `[token]`; the highest are recomputed."""


class AtRandom(Selector):
    """The control: whichever, the same ones for the same prompt."""

    id = "random"

    def scores(self, compared: Compared) -> torch.Tensor:
        chosen = torch.Generator().manual_seed(len(compared.positions))
        return torch.rand(len(compared.positions), generator=chosen).to(compared.positions.device)


class FirstOfSegment(Selector):
    """The first tokens of every segment, which drew the attention of the others while they stood alone
    (EPIC, arXiv 2410.15332, section 3)."""

    id = "first"

    def scores(self, compared: Compared) -> torch.Tensor:
        return -compared.into_segment.float()


class ValueDeviation(Selector):
    """HKVD on values: the squared distance of a token's values, over all heads."""

    id = "hkvd-v"

    def scores(self, compared: Compared) -> torch.Tensor:
        return _squared_distance(compared.fresh[1], compared.stored[1])


class KeyDeviation(Selector):
    """HKVD on keys."""

    id = "hkvd-k"

    def scores(self, compared: Compared) -> torch.Tensor:
        return _squared_distance(compared.fresh[0], compared.stored[0])


class Deviation(Selector):
    """HKVD on keys and values, each relative to how far its numbers are from zero on average."""

    id = "hkvd"

    def scores(self, compared: Compared) -> torch.Tensor:
        return sum(
            (
                _squared_distance(fresh, stored) / fresh.square().sum(dim=(0, 2)).mean().clamp_min(1e-12)
                for fresh, stored in zip(compared.fresh, compared.stored, strict=True)
            ),
            start=torch.zeros(len(compared.positions), device=compared.positions.device),
        )


class LossWeighted(Selector):
    """HKVD on keys and values in the codec's coordinates, where errors cost what they are long, whatever their
    direction (`codec.basis`): how far a token is off counts as much as the model's predictions depend on it."""

    id = "loss-weighted"

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._weights: dict[int, torch.Tensor] = {}

    def scores(self, compared: Compared) -> torch.Tensor:
        (fresh_keys, fresh_values), (keys, values) = compared.fresh, compared.stored
        moved = self._profile.rotary[compared.layer].take_off_at(fresh_keys - keys, compared.positions)
        rows = torch.cat([part.transpose(0, 1).flatten(1) for part in (moved, fresh_values - values)], dim=1)
        return (rows @ self._weights_of(compared.layer).to(rows.device)).square().sum(dim=1)

    def _weights_of(self, layer: int) -> torch.Tensor:
        """Float32 `[channel of the layer, component]`."""
        if layer not in self._weights:
            band = next(band for band in self._profile.bands if band.first <= layer < band.end)
            self._weights[layer] = torch.from_numpy(band.weights_of(layer, self._profile.spec))
        return self._weights[layer]


def _squared_distance(fresh: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:
    return (fresh - stored).square().sum(dim=(0, 2))


SELECTORS: Mapping[str, Callable[[], Selector]] = {
    kind.id: kind for kind in (AtRandom, FirstOfSegment, ValueDeviation, KeyDeviation, Deviation)
}
"""By name, those that need nothing but the KV."""
