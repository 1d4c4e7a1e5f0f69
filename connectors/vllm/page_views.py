"""PageLayout: how vLLM lays out a layer's keys and values; and views that make all layouts look the same.

Every layout is the same four axes cut and ordered differently: `[block, kv_head, token / a, a, dim / b, b]`.
"""

from __future__ import annotations

from enum import Enum

import torch

from codec import LayerGroup
from connectors.vllm.errors import UnsupportedEngine

_TILE = 16
"""Tokens (of keys) or dims (of values) that AMX packs side by side, in pairs of the other axis."""


class PageLayout(Enum):
    """How a layer's registered tensor holds keys (k) and values (v): B blocks of N tokens, H heads of D dims."""

    VECTOR = "vector"
    """vLLM on CPUs, isa vec and vec16: `[B, H, N * 2D]`, which is k `[D, N]` and then v `[N, D]`."""
    AMX = "amx"
    """vLLM on CPUs, isa amx: `[B, H, N * 2D]`, which is k `[N/16, D/2, 16, 2]` and then v `[D/16, N/2, 16, 2]`."""
    PACKED = "packed"
    """vLLM 0.32 on GPUs: `[B, H, N, k | v]`, whatever the strides (NHD, HND, layers inside of blocks)."""
    SPLIT = "split"
    """Earlier FlashAttention caches: `[k and v, B, N, H, D]`, whatever the strides (NHD, HND)."""


def layer_views(cache: torch.Tensor, group: LayerGroup, layout: PageLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of one layer, each viewed as `[block, kv_head, token / a, a, dim / b, b]`; nothing is copied.

    Raises UnsupportedEngine when the cache's shape or strides are not those of the layout.
    """
    heads, key_dim, value_dim = group.kv_heads, group.key_dim, group.value_dim
    if layout is PageLayout.SPLIT:
        _require(cache, cache.shape == (2, *cache.shape[1:3], heads, key_dim) and key_dim == value_dim)
        return _uncut(cache[0].transpose(1, 2)), _uncut(cache[1].transpose(1, 2))
    _require(cache, cache.shape == (*cache.shape[:1], heads, *cache.shape[2:3], key_dim + value_dim))
    if layout is PageLayout.PACKED:
        return _uncut(cache[..., :key_dim]), _uncut(cache[..., key_dim:])
    num_tokens = cache.shape[2]
    _require(cache, cache.stride()[2:] == (key_dim + value_dim, 1) and key_dim == value_dim)
    pages = cache.flatten(2)  # a view: the strides say so
    keys, values = pages[..., : num_tokens * key_dim], pages[..., num_tokens * key_dim :]
    if layout is PageLayout.VECTOR:
        by_dim = torch.unflatten(keys, 2, (key_dim, num_tokens))
        return _uncut(by_dim.mT), _uncut(torch.unflatten(values, 2, (num_tokens, value_dim)))
    _require(cache, num_tokens % _TILE == 0 and key_dim % _TILE == 0)
    keys = torch.unflatten(keys, 2, (num_tokens // _TILE, key_dim // 2, _TILE, 2))
    values = torch.unflatten(values, 2, (value_dim // _TILE, num_tokens // 2, _TILE, 2))
    return keys.transpose(3, 4), values.permute(0, 1, 3, 5, 2, 4)


def _require(cache: torch.Tensor, fits: bool) -> None:
    if not fits:
        raise UnsupportedEngine(
            f"a KV cache of shape {tuple(cache.shape)} and strides {cache.stride()} is not in the layout expected"
        )


def _uncut(view: torch.Tensor) -> torch.Tensor:
    """`[block, kv_head, token, dim]` with the axes that a layout without tiles does not need."""
    return view[:, :, None, :, None]
