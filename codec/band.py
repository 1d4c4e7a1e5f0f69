"""Band: consecutive layers whose keys and values go through one transform, and how they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from codec.basis import Basis
from codec.emphasis import Emphasis
from codec.spec import KVSpec

BLOCKS = ("band", "part", "head")
"""What one basis spans: all of a band, one layer's keys or values, or one head of those."""


@dataclass(frozen=True, eq=False)
class Band:
    """Layers [first, end). Channels are, layer by layer, those of keys and then those of values, heads side by
    side; `bases` are blocks of consecutive channels, and their components stand in the same order."""

    first: int
    end: int
    bases: tuple[Basis, ...]
    emphasis: Emphasis

    @cached_property
    def deviations(self) -> np.ndarray:
        """Float32 `[component]`."""
        return np.concatenate([basis.deviations for basis in self.bases])

    def components(self, x: np.ndarray) -> np.ndarray:
        """Float32 `[token, component]` of `[token, channel]`."""
        starts = np.cumsum([len(basis.mean) for basis in self.bases])[:-1]
        blocks = zip(np.split(x, starts, axis=1), self.bases, strict=True)
        return np.hstack([(block - basis.mean) @ basis.analysis for block, basis in blocks])

    def gradients(self, along_channels: np.ndarray) -> np.ndarray:
        """Gradients with respect to components, float32 `[token, component]`, of those to channels."""
        starts = np.cumsum([len(basis.mean) for basis in self.bases])[:-1]
        blocks = zip(np.split(along_channels, starts, axis=1), self.bases, strict=True)
        return np.hstack([block @ basis.synthesis.T for block, basis in blocks])

    def channels(self, columns: np.ndarray, z: np.ndarray) -> torch.Tensor:
        """Float32 `[token, channel]` from `z` `[token, column]`: the given components, ascending; others zero."""
        ends = np.cumsum([len(basis.mean) for basis in self.bases])
        splits = np.searchsorted(columns, ends)
        blocks, begin, start = [], 0, 0
        for basis, split, end in zip(self.bases, splits.tolist(), ends.tolist(), strict=True):
            blocks.append(_synthesized(basis, columns[begin:split] - start, z[:, begin:split]))
            begin, start = split, end
        return torch.cat(blocks, dim=1)


def _synthesized(basis: Basis, columns: np.ndarray, z: np.ndarray) -> torch.Tensor:
    """The strongest components are nearly always there: what of the matrix is used begins with a slice."""
    slice_end = int(np.argmin(np.append(columns == np.arange(columns.size), False)))
    synthesis, coded = torch.from_numpy(basis.synthesis), torch.from_numpy(z)
    x = torch.addmm(torch.from_numpy(basis.mean.copy()), coded[:, :slice_end], synthesis[:slice_end])
    if slice_end < columns.size:
        x.addmm_(coded[:, slice_end:], synthesis[torch.from_numpy(columns[slice_end:])])
    return x


def bands_of(num_layers: int, layers_together: int) -> list[tuple[int, int]]:
    """The layers [first, end) of each band."""
    return [(first, min(first + layers_together, num_layers)) for first in range(0, num_layers, layers_together)]


def part_dims(spec: KVSpec, first: int, end: int) -> list[int]:
    """How many channels each layer's keys, and values, have."""
    groups = spec.group_of[first:end]
    return [group.kv_heads * dim for group in groups for dim in (group.key_dim, group.value_dim)]


def block_dims(spec: KVSpec, first: int, end: int, blocks: str) -> Sequence[int]:
    """How many channels each basis spans."""
    parts = part_dims(spec, first, end)
    if blocks == "band":
        return [sum(parts)]
    if blocks == "part":
        return parts
    groups = spec.group_of[first:end]
    return [dim for group in groups for dim in [group.key_dim] * group.kv_heads + [group.value_dim] * group.kv_heads]
