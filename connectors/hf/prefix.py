"""Which prefix of each row to load, and how a batch whose rows have different prefixes starts.

`generate` continues all rows of a batch at one column. Either it starts where the row with the least
in the cache has to (rows with more compute some of it again), or each row's missing tokens are computed
alone first, straight into its row of the cache, and all start at the last column. Whichever computes
fewer tokens is done; both give each row the KV of its own tokens only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from codec import KVArray, KVSpec
from connectors.hf.cache import StoreCache
from connectors.hf.request import Request
from kvstore import KVStore, PrefixMatch

Buffers = list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Prefix:
    """A cache filled as far as the store could, and per row how many whole chunks' tokens came from there."""

    cache: StoreCache
    loaded: tuple[int, ...]
    exact: bool = True
    """Whether what is computed behind it is what would be computed without the store, and so may be saved."""
    reused: int = 0
    """Tokens behind the exact ones that were reused, some of them recomputed."""


def no_prefix(model: PreTrainedModel, request: Request) -> Prefix:
    """An empty cache: every prompt is computed from its first token."""
    cache = StoreCache(model.config.get_text_config(decoder=True), request.room)
    return Prefix(cache, (0,) * len(request.rows))


def load_prefix(
    model: PreTrainedModel, store: KVStore, spec: KVSpec, request: Request, matches: Sequence[PrefixMatch]
) -> Prefix:
    """A cache for this request with what the store holds of its prompts in place."""
    prefix = no_prefix(model, request)
    if not any(match.keys for match in matches):
        return prefix
    buffers = empty_buffers(spec, request, model.device)
    loaded = tuple(
        store.load_into(match, row_array(spec, buffers, index, row.pad, match.num_tokens)) if match.keys else 0
        for index, (row, match) in enumerate(zip(request.rows, matches, strict=True))
    )
    usable = [min(tokens, len(row.token_ids) - 1) for row, tokens in zip(request.rows, loaded, strict=True)]
    start = min(row.pad + tokens for row, tokens in zip(request.rows, usable, strict=True))
    last = request.num_columns - 1
    computed_alone = sum(len(row.token_ids) - 1 - tokens for row, tokens in zip(request.rows, usable, strict=True))
    if computed_alone < (last - start) * len(request.rows):
        _compute_rows(model, request, buffers, usable)
        start = last
    prefix.cache.restore(buffers, start)
    return Prefix(prefix.cache, loaded)


@torch.inference_mode(False)  # threads that decode into them are in no such mode, and may not write to its tensors
def empty_buffers(spec: KVSpec, request: Request, device: torch.device) -> Buffers:
    """Per layer `[row, kv_head, column, dim]`, zeroed where there is padding: masked NaNs would still spread.

    On the CPU all layers are views of one numpy block, which numpy asks the kernel to back with huge
    pages: page faults otherwise cost a third of the load.
    """
    rows, columns, dtype = len(request.rows), request.num_columns + request.room, getattr(torch, spec.dtype)
    num_bytes = rows * columns * spec.bytes_per_token
    if device.type == "cpu":
        block = torch.from_numpy(np.empty(num_bytes, np.uint8)).view(dtype)
    else:
        block = torch.empty(num_bytes, dtype=torch.uint8, device=device).view(dtype)
    if any(row.pad for row in request.rows):
        block.zero_()
    shapes = [
        (rows, group.kv_heads, columns, dim) for group in spec.group_of for dim in (group.key_dim, group.value_dim)
    ]
    parts = torch.split(block, [math.prod(shape) for shape in shapes])
    tensors = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    return list(zip(tensors[::2], tensors[1::2], strict=True))


def row_array(spec: KVSpec, buffers: Buffers, row: int, start: int, num_tokens: int) -> KVArray:
    columns = slice(start, start + num_tokens)
    keys = tuple(keys[row, :, columns] for keys, _ in buffers)
    return KVArray(spec, keys, tuple(values[row, :, columns] for _, values in buffers))


@torch.no_grad()
def _compute_rows(model: PreTrainedModel, request: Request, buffers: Buffers, usable: Sequence[int]) -> None:
    """Computes each row's tokens but the last, behind what was loaded, into its row of the buffers."""
    config = model.config.get_text_config(decoder=True)
    for index, (row, tokens) in enumerate(zip(request.rows, usable, strict=True)):
        missing = row.token_ids[tokens:-1]
        if missing:
            cache = StoreCache(config, room=0)
            views = [
                (keys[index : index + 1, :, row.pad :], vals[index : index + 1, :, row.pad :]) for keys, vals in buffers
            ]
            cache.restore(views, tokens)
            input_ids = torch.tensor([missing], device=model.device)
            model(input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
