"""Rotary position embedding of keys: putting it on, taking it off, moving keys to another position.

A key channel pair (i, i + d/2) of a token at position p is turned by the angle p * frequency[i] (RoFormer,
arXiv 2104.09864, in the half-split layout of Llama and most others). Turning is orthogonal, so it comes off
exactly, and keys turned back are the same wherever their text stands. Variants change the frequencies:
`linear` divides them, `llama3` divides the slow ones, `yarn` (arXiv 2309.00071) blends and also scales the
result. Under partial rotary only the first channels of a head turn.

Angles are the float32 products that transformers computes: far into a context their rounding is larger
than the model's own, and keys come off exactly only by the angle that they were put on with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from codec.errors import KVCacheError
from codec.spec import KVSpec, LayerGroup

_ALWAYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "max_position_embeddings"}
_LLAMA3 = {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
_YARN = {"factor", "original_max_position_embeddings"}
_YARN_OPTIONAL = {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"}


class UnsupportedRotary(KVCacheError):
    """Keys of this rotary embedding cannot be moved: use a codec that leaves keys as they are."""


@dataclass(frozen=True, eq=False)
class Rotary:
    """One layer group's rotary embedding; without frequencies, keys have none and stay as they are."""

    frequencies: torch.Tensor
    """Float32 `[pair]`, radians per position of the first `2 * pair` channels of a head."""
    scaling: float = 1.0
    """What turned channels are multiplied by (yarn's attention factor)."""

    @classmethod
    def of(cls, group: LayerGroup) -> Rotary:
        """The embedding that a spec's layer group describes.

        Raises UnsupportedRotary when its frequencies depend on the prompt's length, or anything in it is
        not known here (interleaved layouts and several positions per token among them).
        """
        if not group.rotary:
            return NO_ROTARY
        try:
            embedding = cls(*_parameters(group.rotary, group.key_dim))
            turns = bool(embedding.frequencies.isfinite().all()) and math.isfinite(1 / embedding.scaling)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise UnsupportedRotary(f"rotary parameters {group.rotary} make no sense: {error}") from error
        if not turns:
            raise UnsupportedRotary(f"rotary parameters {group.rotary} give no finite angles")
        return embedding

    def put_on(self, keys: torch.Tensor, start: int) -> torch.Tensor:
        """Float32 keys `[kv_head, token, key_dim]` without an embedding, embedded for [start, start + token)."""
        return _turned(keys, *_turns(self, start, keys.shape[1], keys.device))

    def take_off(self, keys: torch.Tensor, start: int) -> torch.Tensor:
        """The inverse of `put_on`, in float32."""
        return self._back(keys, *_turns(self, start, keys.shape[1], keys.device))

    def take_off_at(self, keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """As `take_off`, of keys that stand at these positions, int64 `[token]`."""
        return self._back(keys, *_turns_at(self, positions.float()))

    def _back(self, keys: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        back = self.scaling**-2
        return _turned(keys, cos * back, sin * -back)

    def move(self, keys: torch.Tensor, start: int, to: int) -> torch.Tensor:
        """Keys embedded for positions from `start` on, embedded for positions from `to` on, in float32."""
        return self.put_on(self.take_off(keys, start), to)

    def cos_sin(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the angles at positions from `start` on, times the scaling, float32 `[token, pair]`."""
        cos, sin = _turns(self, start, count, torch.device("cpu"))
        return cos.numpy(), sin.numpy()


NO_ROTARY = Rotary(torch.empty(0))


@lru_cache(maxsize=16)
def rotary_of_layers(spec: KVSpec) -> tuple[Rotary, ...]:
    """By layer. Raises UnsupportedRotary as `Rotary.of`."""
    groups = {id(group): Rotary.of(group) for group in spec.groups}
    return tuple(groups[id(group)] for group in spec.group_of)


def _turned(keys: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    x, pairs = keys.float(), cos.shape[1]
    if not pairs:
        return x
    first, second = x[..., :pairs], x[..., pairs : 2 * pairs]
    turned = torch.empty_like(x, memory_format=torch.contiguous_format)
    torch.mul(first, cos, out=turned[..., :pairs]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=turned[..., pairs : 2 * pairs]).addcmul_(first, sin)
    turned[..., 2 * pairs :] = x[..., 2 * pairs :]
    return turned


@lru_cache(maxsize=64)  # the layers of a chunk share theirs
def _turns(rotary: Rotary, start: int, count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Rotary.cos_sin`."""
    return _turns_at(rotary, torch.arange(start, start + count, dtype=torch.float32, device=device))


def _turns_at(rotary: Rotary, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for float32 positions `[token]`."""
    angles = positions[:, None] * rotary.frequencies.to(positions.device)
    return angles.cos() * rotary.scaling, angles.sin() * rotary.scaling


def _parameters(rotary: Mapping[str, Any], key_dim: int) -> tuple[torch.Tensor, float]:
    """Frequencies and scaling, as `Rotary` has them. Raises UnsupportedRotary when something is not known here."""
    kind = rotary.get("rope_type", rotary.get("type", "default"))
    if kind not in _FREQUENCIES:
        raise UnsupportedRotary(f"rotary scaling {kind!r} is none of {', '.join(_FREQUENCIES)}")
    needed, optional, frequencies = _FREQUENCIES[kind]
    given = {name for name, value in rotary.items() if value is not None}
    if unknown := given - _ALWAYS - needed - optional:
        raise UnsupportedRotary(f"rotary parameters {', '.join(sorted(unknown))} are not known under {kind!r}")
    if missing := {"rope_theta", *needed} - given:
        raise UnsupportedRotary(f"rotary scaling {kind!r} lacks {', '.join(sorted(missing))}")
    turned = int(key_dim * rotary.get("partial_rotary_factor", 1.0))
    if turned % 2 or not 0 < turned <= key_dim:
        raise UnsupportedRotary(f"{turned} of {key_dim} channels turn, which is no number of pairs")
    return frequencies(rotary, turned)


def _default(rotary: Mapping[str, Any], dim: int) -> tuple[torch.Tensor, float]:
    return 1.0 / _wavelengths(rotary, dim), 1.0


def _linear(rotary: Mapping[str, Any], dim: int) -> tuple[torch.Tensor, float]:
    return 1.0 / _wavelengths(rotary, dim) / rotary["factor"], 1.0


def _llama3(rotary: Mapping[str, Any], dim: int) -> tuple[torch.Tensor, float]:
    """Waves longer than the original context are stretched, short ones left, those between blended."""
    frequencies = 1.0 / _wavelengths(rotary, dim)
    factor, low, high = rotary["factor"], rotary["low_freq_factor"], rotary["high_freq_factor"]
    context = rotary["original_max_position_embeddings"]
    wavelength = 2 * math.pi / frequencies
    blend = (context / wavelength - low) / (high - low)
    stretched = torch.where(wavelength > context / low, frequencies / factor, frequencies)
    blended = (1 - blend) * stretched / factor + blend * stretched
    between = (wavelength >= context / high) & (wavelength <= context / low)
    return torch.where(between, blended, stretched), 1.0


def _yarn(rotary: Mapping[str, Any], dim: int) -> tuple[torch.Tensor, float]:
    """Frequencies by how often they turn within the original context: many times stay, less than once stretch."""
    factor, context, base = rotary["factor"], rotary["original_max_position_embeddings"], rotary["rope_theta"]

    def dim_turning(times: float) -> float:
        return (dim * math.log(context / (times * 2 * math.pi))) / (2 * math.log(base))

    low, high = dim_turning(rotary.get("beta_fast") or 32), dim_turning(rotary.get("beta_slow") or 1)
    if rotary.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = (torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low if high != low else 0.001)
    keep = 1 - ramp.clamp(0, 1)
    waves = _wavelengths(rotary, dim)
    return 1.0 / (factor * waves) * (1 - keep) + 1.0 / waves * keep, _yarn_scaling(rotary)


def _yarn_scaling(rotary: Mapping[str, Any]) -> float:
    def scale(multiplier: float) -> float:
        return 1.0 if rotary["factor"] <= 1 else 0.1 * multiplier * math.log(rotary["factor"]) + 1.0

    if rotary.get("attention_factor") is not None:
        return float(rotary["attention_factor"])
    if rotary.get("mscale") and rotary.get("mscale_all_dim"):
        return scale(rotary["mscale"]) / scale(rotary["mscale_all_dim"])
    return scale(1)


def _wavelengths(rotary: Mapping[str, Any], dim: int) -> torch.Tensor:
    """Positions per radian of each pair, unscaled, float32 `[pair]`."""
    waves: torch.Tensor = rotary["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim)
    return waves


_FREQUENCIES: Mapping[str, tuple[set[str], set[str], Callable[..., tuple[torch.Tensor, float]]]] = {
    "default": (set(), set(), _default),
    "linear": ({"factor"}, set(), _linear),
    "llama3": (_LLAMA3, set(), _llama3),
    "yarn": (_YARN, _YARN_OPTIONAL, _yarn),
}
"""Per variant: the parameters it needs, those it may have, and its frequencies and scaling."""
