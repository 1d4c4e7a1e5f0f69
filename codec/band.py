"""Band: consecutive layers whose keys and values go through one transform, and how they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from codec.basis import Basis
from codec.emphasis import Emphasis
from codec.int_product import in_eighths
from codec.kv_array import KVArray
from codec.rotary import Rotary
from codec.sparse_rows import add_product, num_dense
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
        return np.hstack([(block - basis.mean) @ basis.analysis for block, basis in self._blocks(x)])

    def gradients(self, along_channels: np.ndarray) -> np.ndarray:
        """Gradients with respect to components, float32 `[token, component]`, of those to channels."""
        return np.hstack([block @ basis.synthesis.T for block, basis in self._blocks(along_channels)])

    def channels(self, columns: np.ndarray, multiples: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Float32 `[token, channel]` from float32 `[token, column]`: multiples of steps, float32 `[token]`, of the
        given components, ascending; others are zero."""
        splits = np.searchsorted(columns, self._ends)
        blocks, begin, start = [], 0, 0
        for basis, split, end in zip(self.bases, splits.tolist(), self._ends.tolist(), strict=True):
            block = np.ascontiguousarray(multiples[:, begin:split])
            blocks.append(_synthesized(basis, columns[begin:split] - start, block, steps))
            begin, start = split, end
        return blocks[0] if len(blocks) == 1 else np.hstack(blocks)

    def weights_of(self, layer: int, spec: KVSpec) -> np.ndarray:
        """Float32 `[channel, component]`: what a difference in one layer's keys and values, side by side, comes to."""
        dims = part_dims(spec, self.first, self.end)
        begin = sum(dims[: 2 * (layer - self.first)])
        width = sum(dims[2 * (layer - self.first) : 2 * (layer - self.first) + 2])
        rows = np.zeros((width, sum(dims)), np.float32)
        rows[:, begin : begin + width] = np.eye(width, dtype=np.float32)
        return np.hstack([block @ basis.analysis for block, basis in self._blocks(rows)])

    def parts(self, kv: KVArray) -> Iterator[torch.Tensor]:
        """Keys `[kv_head, token, dim]`, then values, of one of the band's layers after the other."""
        for layer in range(self.first, self.end):
            yield kv.keys[layer]
            yield kv.values[layer]

    def unturned(self, kv: KVArray, rotary: Sequence[Rotary], start: int) -> Iterator[torch.Tensor]:
        """As `parts`, keys without their rotary embedding (one for each of the model's layers); `kv` is at `start`."""
        for layer in range(self.first, self.end):
            yield rotary[layer].take_off(kv.keys[layer], start)
            yield kv.values[layer]

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([len(basis.mean) for basis in self.bases])

    def _blocks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Basis]]:
        """Each basis with its channels of `[token, channel]`."""
        return zip(np.split(rows, self._ends[:-1], axis=1), self.bases, strict=True)


def _synthesized(basis: Basis, columns: np.ndarray, multiples: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """In integers for the strongest components, of which many are not zero; number by number for the others, and for
    tokens whose multiples are too large."""
    dense = num_dense(multiples)
    end = int(columns[dense - 1]) + 1 if dense else 0
    strongest = multiples
    if end > dense:
        strongest = np.zeros((len(multiples), end), np.float32)
        strongest[:, columns[:dense]] = multiples[:, :dense]
    eighths, is_small = in_eighths(strongest, end)
    x = basis.int_synthesis.product(eighths, steps)
    add_product(multiples, np.where(is_small, dense, 0), columns, basis.synthesis, steps, x)
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
