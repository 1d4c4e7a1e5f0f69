"""`transform`: loss-aware transform coding, under a profile calibrated for the model.

Per layer, keys (their rotary embedding taken off) and values go to the coordinates of their `Basis`,
where every error of one length costs the model equally much; there every component is divided by one
step and rounded, and the integers are entropy-coded under the profile's tables (`ColumnTables`). The step
is the only knob of quality: a name among the profile's levels, or a number. What the method is made of:
KLT after removing the rotary embedding and exact sinks (KVTC, arXiv 2511.01815), Fisher information as
the measure of loss (SqueezeLLM, arXiv 2306.07629, for weights), entropy coding of KV (CacheGen, arXiv
2310.07240). Because keys are coded as if they stood at position 0, they decode to any position.

Bound: every component comes back within (0.5 + dead zone) steps, before float32 and the spec's own dtype
round; so the expected loss is about a constant times step² per coded component.

Sections per layer: `kv` (U8): escapes, choice stream and symbol stream, the first two's sizes before them
as little-endian U32: number of escapes, bytes of choices. Columns are the components of keys, then of
values. Escapes are float32 multiples of the step, row by row. `sinks` (U16 or U32), in chunks that begin
a prompt: the bits of the first tokens, keys `[kv_head, token, dim]` before values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch

from codec.basis import Basis
from codec.bits import bits_of
from codec.codable import codable, require_codable, rows_of, write
from codec.codec import Codec, ReadSection
from codec.column_tables import ESCAPE, REACH, expectations
from codec.errors import CorruptFrame, MissingProfile
from codec.profile import Profile
from codec.profiles import registered
from codec.spec import KVSpec

_COUNTS = np.dtype("<u4")
_SMALLEST_STEP, _LARGEST_STEP = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


class Transform(Codec):
    """Loss-aware transform coding; `quality` is one of the profile's levels, or a step."""

    id: ClassVar[str] = "transform"
    lossless: ClassVar[bool] = False
    movable: ClassVar[bool] = True

    def __init__(self, profile: Profile, quality: str | float = "balanced") -> None:
        """Raises CorruptFrame when the profile has no such level, or the step is not a positive number."""
        self._profile, self._quality = profile, quality
        step = profile.levels.get(quality) if isinstance(quality, str) else quality
        if type(step) is not float or not _SMALLEST_STEP <= step <= _LARGEST_STEP:
            raise CorruptFrame(f"quality {quality!r} is neither a step nor one of {', '.join(profile.levels)}")
        self._step = np.float32(step)
        self._expected = [
            expectations(np.concatenate([keys.deviations, values.deviations]), step)
            for keys, values in zip(profile.keys, profile.values, strict=True)
        ]

    def params(self) -> dict[str, Any]:
        return {"profile": self._profile.fingerprint, "quality": self._quality}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """Raises MissingProfile when the profile is not registered in this process."""
        fingerprint, quality = params.get("profile", ""), params.get("quality", "balanced")
        if params.keys() - {"profile", "quality"} or type(fingerprint) is not str or type(quality) not in (str, float):
            raise CorruptFrame(f"transform takes a profile and a quality, got {dict(params)}")
        if not fingerprint:
            raise MissingProfile("transform needs a profile: `kvstore calibrate` makes one for a model")
        return cls(registered(fingerprint), quality)

    def for_spec(self, spec: KVSpec) -> Codec:
        """Raises SpecMismatch when the profile is another model's."""
        self._profile.require(spec)
        return self

    def encode_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor, start: int) -> dict[str, np.ndarray]:
        exact = min(self._profile.sinks, keys.shape[1]) if start == 0 else 0
        sections = {}
        if exact:
            for part in (keys, values):
                codable(self.id, part[:, :exact])
            sections["sinks"] = np.concatenate([bits_of(part[:, :exact]).ravel() for part in (keys, values)])
        if exact < keys.shape[1]:
            unturned = self._profile.rotary[layer].take_off(keys[:, exact:], start + exact)
            multiples = self._multiples(layer, rows_of(self.id, unturned), rows_of(self.id, values[:, exact:]))
            sections["kv"] = self._packed(layer, multiples)
        return sections

    @np.errstate(over="ignore", invalid="ignore")  # what comes of a forged frame's numbers, `write` refuses
    def decode_layer(
        self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, start: int, to: int
    ) -> None:
        exact = min(self._profile.sinks, keys.shape[1]) if start == 0 else 0
        rotary = self._profile.rotary[layer]
        if exact:
            self._read_sinks(layer, read, keys[:, :exact], values[:, :exact], to)
        if exact < keys.shape[1]:
            columns, multiples = self._unpacked(layer, read("kv", np.uint8), keys.shape[1] - exact)
            z, num_key_components = multiples * self._step, len(self._profile.keys[layer].mean)
            split = int(np.searchsorted(columns, num_key_components))
            k = _synthesized(self._profile.keys[layer], columns[:split], z[:, :split])
            v = _synthesized(self._profile.values[layer], columns[split:] - num_key_components, z[:, split:])
            write(rotary.put_on(_heads_of(k, keys), to + exact), keys[:, exact:])
            write(_heads_of(v, values), values[:, exact:])

    def _multiples(self, layer: int, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Components over the step, float32 `[token, component]`: of keys, then of values."""
        profile = self._profile
        parts = (profile.keys[layer], keys), (profile.values[layer], values)
        multiples = np.hstack([(x - basis.mean) @ basis.analysis for basis, x in parts]) / self._step
        require_codable(self.id, multiples)
        return multiples

    def _packed(self, layer: int, multiples: np.ndarray) -> np.ndarray:
        symbols = symbols_of(multiples, self._profile.dead_zone)
        escapes = multiples[symbols == ESCAPE].astype("<f4")
        choices, stream = self._profile.tables.encode(symbols, self._expected[layer])
        sizes = np.array([escapes.size, choices.size], _COUNTS)
        return np.concatenate([sizes.view(np.uint8), escapes.view(np.uint8), choices, stream])

    def _unpacked(self, layer: int, packed: np.ndarray, num_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Which components are coded, and their multiples of the step, float32 `[token, those components]`."""
        if packed.size < 2 * _COUNTS.itemsize:
            raise CorruptFrame(f"{packed.size} bytes are too few for a layer")
        num_escapes, choice_bytes = (int(count) for count in packed[:8].view(_COUNTS))
        streams = 8 + 4 * num_escapes
        if streams + choice_bytes > packed.size:
            raise CorruptFrame("a layer's escapes and choices are longer than the layer")
        escapes = packed[8:streams].view("<f4")
        choices, stream = packed[streams : streams + choice_bytes], packed[streams + choice_bytes :]
        columns, symbols = self._profile.tables.decode(choices, stream, num_tokens, self._expected[layer])
        multiples = symbols.astype(np.float32) - np.float32(REACH)
        escaped = symbols == ESCAPE
        if np.count_nonzero(escaped) != num_escapes or not np.isfinite(escapes).all():
            raise CorruptFrame("a layer's escapes are not those its symbols speak of")
        multiples[escaped] = escapes
        return columns, multiples

    def _read_sinks(self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, to: int) -> None:
        unsigned = np.uint16 if keys.element_size() == 2 else np.uint32
        stored = read("sinks", unsigned, (keys.numel() + values.numel(),))
        for out, bits in ((keys, stored[: keys.numel()]), (values, stored[keys.numel() :])):
            signed = bits.view(np.dtype(f"i{unsigned().itemsize}")).reshape(out.shape).copy()
            exact = torch.from_numpy(signed).view(out.dtype)
            if not exact.isfinite().all():
                raise CorruptFrame("a layer's exact tokens hold numbers that are not finite")
            out.copy_(exact)
        if to:
            write(self._profile.rotary[layer].move(keys, 0, to), keys)


def symbols_of(multiples: np.ndarray, dead_zone: float) -> np.ndarray:
    """The nearest integers as `ColumnTables` codes them, uint8; of two about as near, the smaller one."""
    away = np.floor(np.abs(multiples) + np.float32(0.5 - dead_zone))
    symbols = np.where(away > REACH, ESCAPE, REACH + np.copysign(away, multiples))
    return symbols.astype(np.uint8)


def _synthesized(basis: Basis, columns: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Float32 `[token, channel]` of the components that are not zero."""
    x: np.ndarray = z @ basis.synthesis[columns] + basis.mean
    return x


def _heads_of(x: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """`[kv_head, token, dim]` of `[token, channel]`, as many heads as `like` has."""
    return torch.from_numpy(x).view(-1, like.shape[0], like.shape[2]).transpose(0, 1)
