"""KVArray: the keys and values of some consecutive tokens, layer by layer, as torch tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from codec.errors import SpecMismatch
from codec.spec import KVSpec


@dataclass(frozen=True)
class KVArray:
    """Keys and values of `num_tokens` tokens in the layout every part of this project shares.

    `keys[layer]` is `[kv_head, token, key_dim]`, `values[layer]` is `[kv_head, token, value_dim]`, in the
    spec's dtype. Keys carry their rotary embedding, as the engine's cache holds them. Layers may be views
    into one tensor or separate ones; nothing is copied on construction or by `tokens`.
    Raises SpecMismatch when a tensor's shape or dtype is not what the spec says.
    """

    spec: KVSpec
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    def __post_init__(self) -> None:
        spec, num_tokens = self.spec, self.keys[0].shape[1] if self.keys and self.keys[0].ndim == 3 else 0
        if not len(self.keys) == len(self.values) == spec.num_layers:
            raise SpecMismatch(f"{len(self.keys)} layers of keys, {len(self.values)} of values, not {spec.num_layers}")
        dtype = getattr(torch, spec.dtype)
        for layer, (group, keys, values) in enumerate(zip(spec.group_of, self.keys, self.values, strict=True)):
            expected = (group.kv_heads, num_tokens, group.key_dim), (group.kv_heads, num_tokens, group.value_dim)
            if (keys.shape, values.shape) != expected or not keys.dtype == values.dtype == dtype:
                raise SpecMismatch(
                    f"layer {layer} has keys {tuple(keys.shape)} {keys.dtype} and values {tuple(values.shape)} "
                    f"{values.dtype}; the spec says {expected[0]} and {expected[1]} in {dtype}"
                )

    @classmethod
    def empty(cls, spec: KVSpec, num_tokens: int, device: torch.device | str = "cpu") -> KVArray:
        """Uninitialised room for `num_tokens` tokens: one allocation per layer for keys and one for values."""
        dtype = getattr(torch, spec.dtype)

        def room(kv_heads: int, dim: int) -> torch.Tensor:
            return torch.empty((kv_heads, num_tokens, dim), dtype=dtype, device=device)

        keys = tuple(room(group.kv_heads, group.key_dim) for group in spec.group_of)
        return cls(spec, keys, tuple(room(group.kv_heads, group.value_dim) for group in spec.group_of))

    @property
    def num_tokens(self) -> int:
        return self.keys[0].shape[1]

    @property
    def device(self) -> torch.device:
        """Where the first layer's keys lie, and all others as a rule."""
        return self.keys[0].device

    @property
    def num_bytes(self) -> int:
        return self.num_tokens * self.spec.bytes_per_token

    def tokens(self, start: int, end: int) -> KVArray:
        """Views of tokens [start, end), counted from this array's first token."""
        if not 0 <= start <= end <= self.num_tokens:
            raise ValueError(f"tokens [{start}, {end}) are outside of [0, {self.num_tokens})")
        keys = tuple(keys[:, start:end] for keys in self.keys)
        return KVArray(self.spec, keys, tuple(values[:, start:end] for values in self.values))
