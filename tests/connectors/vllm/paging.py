"""Paged KV caches of every layout, and the canonical KV to put in them."""

import torch

from codec import KVArray, KVSpec, LayerGroup
from connectors.vllm.page_views import PageLayout


def spec_with(num_layers, kv_heads, head_dim, dtype):
    """A model's spec of that shape."""
    groups = (LayerGroup(tuple(range(num_layers)), kv_heads, head_dim, head_dim),)
    return KVSpec("m", "r", str(dtype).removeprefix("torch."), groups)


def random_kv(spec, num_tokens, seed=0):
    """Random KV whose layers are views into one buffer, `[layer, k and v, kv_head, token, dim]`."""
    group, generator = spec.group_of[0], torch.Generator().manual_seed(seed)
    shape = spec.num_layers, 2, group.kv_heads, num_tokens, group.key_dim
    buffer = torch.randn(shape, generator=generator).to(getattr(torch, spec.dtype))
    return KVArray(spec, tuple(buffer[:, 0]), tuple(buffer[:, 1]))


def caches_for(spec, layout, num_blocks, block_tokens, order="LBHNC"):
    """Caches of zeros by layer name, in one allocation whose axes lie in memory as `order` says."""
    group, dtype = spec.group_of[0], getattr(torch, spec.dtype)
    sizes = {"L": spec.num_layers, "B": num_blocks, "H": group.kv_heads, "N": block_tokens}
    if layout is PageLayout.SPLIT:
        sizes, logical, order = sizes | {"2": 2, "C": group.key_dim}, "L2BNHC", order[:1] + "2" + order[1:]
    else:
        sizes, logical = sizes | {"C": 2 * group.key_dim}, "LBHNC"
    raw = torch.zeros([sizes[axis] for axis in order], dtype=dtype)
    layers = raw.permute([order.index(axis) for axis in logical]).unbind()
    named = {f"model.layers.{layer}.self_attn.attn": cache for layer, cache in enumerate(layers)}
    return dict(sorted(named.items()))  # 10 before 2: the order of the names is not that of the layers


def equal(one, other):
    """Whether two KV arrays hold the same bits."""
    return all(torch.equal(a, b) for a, b in zip((*one.keys, *one.values), (*other.keys, *other.values), strict=True))
