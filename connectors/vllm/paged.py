"""PagedKV: a worker's paged KV caches, read and written as canonical KV arrays, bit for bit.

Caches and KV arrays are viewed on the same axes (see page_views.py); one indexed copy between two such views moves
all blocks of a layer, or of all layers where they lie at equal distances from each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import torch

from codec import KVArray, KVSpec, SpecMismatch
from connectors.vllm.errors import UnsupportedEngine
from connectors.vllm.page_views import PageLayout, layer_views


class PagedKV:
    """A worker's KV caches as registered by vLLM, read and written as canonical KV arrays."""

    def __init__(self, caches: Mapping[str, torch.Tensor], spec: KVSpec, layout: PageLayout, block_tokens: int) -> None:
        """`caches`: tensors by layer name, as `register_kv_caches` gets them; they are viewed, and never copied.

        `block_tokens` is what a block id of the scheduler stands for; kernels may have cut it into several blocks.
        Raises UnsupportedEngine when the tensors are not one per layer of the spec, in that layout.
        """
        keys, values = [], []
        for cache, group in zip(_by_layer(caches, spec.num_layers), spec.group_of, strict=True):
            if str(cache.dtype) != f"torch.{spec.dtype}":
                raise UnsupportedEngine(f"the KV caches hold {cache.dtype}; the model computes {spec.dtype}")
            k, v = layer_views(cache, group, layout)
            keys.append(k)
            values.append(v)
        kernel_tokens = keys[0].shape[2] * keys[0].shape[3]
        if block_tokens % kernel_tokens or len({(k.shape[0], k.shape[2] * k.shape[3]) for k in keys}) > 1:
            raise UnsupportedEngine(f"blocks of {block_tokens} tokens are not whole blocks of {kernel_tokens}")
        self._keys, self._values, self._spec = keys, values, spec
        self._ratio = block_tokens // kernel_tokens
        self.block_tokens = block_tokens
        self.num_blocks = keys[0].shape[0] // self._ratio
        self.device = keys[0].device

    @torch.inference_mode()  # caches made in that mode may be written in no other
    def read(self, block_ids: Sequence[int], out: KVArray) -> None:
        """Copies the blocks' tokens to `out`, in the order given; `out` has room for exactly these.

        Raises ValueError on a wrong number of tokens and on a block that is not there, SpecMismatch on another spec.
        """
        ids = self._kernel_ids(block_ids, out)
        for cache, room in self._pairs(near := self._near(out), len(ids)):
            torch.index_select(cache, 1, ids, out=room)
        _copy(near, out)

    @torch.inference_mode()
    def write(self, kv: KVArray, block_ids: Sequence[int]) -> None:
        """Copies the tokens of `kv` to the blocks, in the order given; no block may be named twice.

        Raises ValueError on a wrong number of tokens and on a block that is not there or named twice, SpecMismatch
        on another spec.
        """
        ids = self._kernel_ids(block_ids, kv)
        if len(set(block_ids)) < len(block_ids):
            raise ValueError(f"blocks {list(block_ids)} are not all different")
        near = self._near(kv)
        _copy(kv, near)
        for cache, tokens in self._pairs(near, len(ids)):
            cache.index_copy_(1, ids, tokens)

    def _kernel_ids(self, block_ids: Sequence[int], kv: KVArray) -> torch.Tensor:
        if kv.spec != self._spec:
            raise SpecMismatch("the KV array is of another model than the caches")
        if kv.num_tokens != len(block_ids) * self.block_tokens:
            raise ValueError(f"{kv.num_tokens} tokens are not {len(block_ids)} blocks of {self.block_tokens}")
        if block_ids and not 0 <= min(block_ids) <= max(block_ids) < self.num_blocks:
            raise ValueError(f"blocks {list(block_ids)} are not all in [0, {self.num_blocks})")
        ids = torch.tensor(list(block_ids), dtype=torch.long, device=self.device)
        return (ids[:, None] * self._ratio + torch.arange(self._ratio, device=self.device)).flatten()

    def _pairs(self, kv: KVArray, num_blocks: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Caches and tokens, both `[layer, block, kv_head, token / a, a, dim / b, b]`, or without one axis of two."""
        for caches, canonical in ((self._keys, kv.keys), (self._values, kv.values)):
            tokens = [_like(cache, num_blocks, layer) for cache, layer in zip(caches, canonical, strict=True)]
            whole = _stacked(caches), _stacked(tokens)
            if whole[0] is not None and whole[1] is not None:
                yield from _without_pairs(whole[0], whole[1])
                continue
            for cache, layer in zip(caches, tokens, strict=True):
                yield from _without_pairs(cache[None], layer[None])

    def _near(self, kv: KVArray) -> KVArray:
        """`kv`, or as much room where the caches are: another device is reached by plain copies only."""
        return kv if kv.keys[0].device == self.device else _room(kv, self.device)


def _by_layer(caches: Mapping[str, torch.Tensor], num_layers: int) -> list[torch.Tensor]:
    """The caches in the order of their layers, which is the one number in each name."""
    by_layer: dict[int, torch.Tensor] = {}
    for name, cache in caches.items():
        numbers = [int(part) for part in name.split(".") if re.fullmatch("[0-9]+", part)]
        if len(numbers) != 1 or numbers[0] in by_layer:
            raise UnsupportedEngine(f"KV cache {name!r} is not the only one of one layer")
        by_layer[numbers[0]] = cache
    if sorted(by_layer) != list(range(num_layers)):
        raise UnsupportedEngine(f"there are KV caches of layers {sorted(by_layer)}; the model has {num_layers} layers")
    if len({cache.data_ptr() for cache in by_layer.values()}) < num_layers:
        raise UnsupportedEngine("some layers share one KV cache")
    return [by_layer[layer] for layer in range(num_layers)]


def _like(cache: torch.Tensor, num_blocks: int, tokens: torch.Tensor) -> torch.Tensor:
    """Canonical `[kv_head, token, dim]` viewed as that many blocks of the cache."""
    _, _, *cut_tokens, dims, cut_dim = cache.shape
    cut = torch.unflatten(torch.unflatten(tokens, 2, (dims, cut_dim)), 1, (num_blocks, *cut_tokens))
    return cut.movedim(1, 0)


def _stacked(layers: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """One view of all layers, layers first; None where they are not alike, or not equally far from each other."""
    first = layers[0]
    alike = {(layer.untyped_storage().data_ptr(), layer.shape, layer.stride()) for layer in layers}
    offsets = [layer.storage_offset() for layer in layers]
    steps = {later - earlier for earlier, later in pairwise(offsets)} or {0}
    if len(alike) > 1 or len(steps) > 1 or (step := steps.pop()) < 0:
        return None
    return first.as_strided((len(layers), *first.shape), (step, *first.stride()), offsets[0])


def _without_pairs(cache: torch.Tensor, tokens: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every other element, twice, where a layout has pairs: torch copies along an axis of two four times slower."""
    axis = next((axis for axis in (4, 6) if cache.shape[axis] == 2), None)
    return iter([(cache, tokens)]) if axis is None else zip(cache.unbind(axis), tokens.unbind(axis), strict=True)


def _room(kv: KVArray, device: torch.device) -> KVArray:
    """Uninitialised room for as many tokens, all layers in one allocation where they are alike."""

    def room(layers: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        layers = list(layers)
        if len({layer.shape for layer in layers}) > 1:
            return tuple(torch.empty(layer.shape, dtype=layer.dtype, device=device) for layer in layers)
        return torch.empty((len(layers), *layers[0].shape), dtype=layers[0].dtype, device=device).unbind()

    return KVArray(kv.spec, room(kv.keys), room(kv.values))


def _copy(source: KVArray, target: KVArray) -> None:
    """Layer by layer, so that each copy between devices is of contiguous bytes; nothing when they are the same."""
    if source is target:
        return
    for given, taken in zip((*source.keys, *source.values), (*target.keys, *target.values), strict=True):
        taken.copy_(given)
