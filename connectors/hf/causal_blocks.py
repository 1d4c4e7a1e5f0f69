"""Attention of a prompt's chosen tokens, a block of them at a time, each only with what stands before its last one.

Given a mask, torch multiplies every query with every key and hides half of the products afterwards. The chosen tokens
are in order, so a block of them needs the keys up to its own last token, and most of that half is never computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

_BLOCK = 128  # queries


class CausalBlocks(TorchFunctionMode):
    """While entered, in this thread: masked attention of tokens whose keys stand at `columns()` goes block by block."""

    def __init__(self, columns: Callable[[], torch.Tensor]) -> None:
        """`columns` int64 `[query]`, ascending: no query sees a key behind its own."""
        super().__init__()
        self._columns = columns

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or kwargs.get("attn_mask") is None:
            return func(*args, **kwargs)
        return self._in_blocks(*args, **kwargs)

    def _in_blocks(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, attn_mask: torch.Tensor, **rest: Any
    ) -> torch.Tensor:
        """Shapes as torch has them: `[1, head, token, dim]`, the mask `[1, 1, query, key]`."""
        columns = self._columns()
        if query.shape[2] != len(columns):
            return scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, **rest)
        out = torch.empty_like(query[..., : value.shape[-1]])
        for first in range(0, len(columns), _BLOCK):
            rows = slice(first, min(first + _BLOCK, len(columns)))
            end = int(columns[rows.stop - 1]) + 1
            mask = attn_mask[:, :, rows, :end]
            out[:, :, rows] = scaled_dot_product_attention(
                query[:, :, rows], key[:, :, :end], value[:, :, :end], attn_mask=mask, **rest
            )
        return out
