"""Where fuzzed frames are decoded to: everything not a number before, guards between the tensors."""

import math

import torch

from codec import KVArray

_GUARD, _GUARD_ELEMENTS = 7.0, 16


class Broken(AssertionError):
    """A decoder took its input and wrote what it must not."""


class Room:
    """A KV array whose surroundings and numbers can be checked after a decode."""

    def __init__(self, spec, num_tokens):
        places, end = [], _GUARD_ELEMENTS
        for group in spec.group_of:
            for dim in (group.key_dim, group.value_dim):
                shape = (group.kv_heads, num_tokens, dim)
                places.append((slice(end, end + math.prod(shape)), shape))
                end += math.prod(shape) + _GUARD_ELEMENTS
        self._empty = torch.full((end,), _GUARD, dtype=getattr(torch, spec.dtype))
        for place, _ in places:
            self._empty[place] = torch.nan
        self._guards = self._empty.isfinite()
        self._flat = self._empty.clone()
        tensors = [self._flat[place].view(shape) for place, shape in places]
        self.kv = KVArray(spec, tuple(tensors[::2]), tuple(tensors[1::2]))

    def clear(self):
        self._flat.copy_(self._empty)

    def require_legal(self, lossless):
        """Raises Broken when something beside the tensors changed, or a lossy codec left what is not finite."""
        if not bool((self._flat[self._guards] == _GUARD).all()):
            raise Broken("a decoder wrote beside its tensors")
        if not lossless and not bool(self._flat.isfinite().all()):
            raise Broken("a lossy codec wrote numbers that are not finite")
