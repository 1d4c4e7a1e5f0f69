"""`transform`: loss-aware transform coding, under a profile calibrated for the model.

Layers come in bands. A band's keys (their rotary embedding taken off) and values go to the coordinates of
its `Basis`, where every error of one length costs the model equally much and what the layers have in common
is said once; there every component is divided by a step and rounded, and the integers are entropy-coded
under the profile's tables (`column_codes`). A token's step is the quality's, finer or coarser by the
token's `Emphasis`. The quality's step is the only knob: a name among the profile's levels, or a number.
What the method is made of: KLT over several layers, after removing the rotary embedding and with exact
sinks (KVTC, arXiv 2511.01815), Fisher information as the measure of loss (SqueezeLLM, arXiv 2306.07629,
for weights), entropy coding of KV (CacheGen, arXiv 2310.07240). Keys are coded as if they stood at
position 0, so they decode to any position.

Bound: every component comes back within half its token's step, or one and a half where a column is so
nearly zero that it is sent as zero; so the expected loss is about a constant times step². Progressive frames
are within half the last step; read to `balanced` within 0.75, to `small` within 0.625 of that quality's. To this
comes what arithmetic rounds away, above all the 16 bits that matrices have (`codec.int_product`): on real KV a
hundred-thousandth of the loss.

Quality `progressive` is all three levels in one frame: one quantizer of the finest step, said in three stages
(`codec.refinement`). The step of `small` is four times the finest, that of `balanced` twice. A reader with
little time takes the first sections only (`Codec.coarser`, `bytes_needed`): all bands at `small` come first,
then all refinements to `balanced`, then the last.

Sections, under the first layer of their band. `sinks` (U16 or U32), in chunks that begin a prompt: the bits
of the first tokens, layer by layer, keys `[kv_head, token, dim]` before values. `0.emphasis` (U8): a
`codec.rans` stream of all bands' classes `[band, token]`. `kv` (U8): the columns' stream; `finer` and
`finest` (U8): the refinements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch

from codec import column_codes, rans, refinement
from codec.band import Band
from codec.bits import bits_of, words_to_write
from codec.codable import codable, far_within, require_codable, rows_of, write
from codec.codec import Codec, ReadSection, ReadTensor, Sections
from codec.column_tables import NUM_EXPECTATIONS, expectations
from codec.device_frame import HAS_TRITON
from codec.emphasis import CLASSES, step_factors
from codec.errors import CorruptFrame, MissingProfile
from codec.kv_array import KVArray
from codec.profile import Profile
from codec.profiles import registered
from codec.refinement import Cells
from codec.rotary import NO_ROTARY
from codec.rotary_kernels import put_on
from codec.spec import KVSpec

PROGRESSIVE = "progressive"
_NAMES = ("kv", "finer", "finest")
_FEW_LANES = 8
_STAGES: Mapping[str, int] = {"small": 1, "balanced": 2, "high": 3}
_SMALLEST_STEP, _LARGEST_STEP = 2.0**-100, 2.0**100  # no emphasis makes a float32 of these zero, or infinite


class Transform(Codec):
    """Loss-aware transform coding; `quality` is one of the profile's levels, a step, or "progressive"."""

    id: ClassVar[str] = "transform"
    lossless: ClassVar[bool] = False
    movable: ClassVar[bool] = True

    def __init__(self, profile: Profile, quality: str | float = "balanced", stages: int | None = None) -> None:
        """`stages` is for `coarser`: how many of a progressive frame's are decoded.

        Raises CorruptFrame when the profile has no such level, or the step is not a positive number.
        """
        self._profile, self._quality = profile, quality
        steps = _steps_of(profile, quality)[:stages]
        if not all(_SMALLEST_STEP <= step <= _LARGEST_STEP for step in steps):
            raise CorruptFrame(f"quality {quality!r} means steps of {steps}, which none can be coded with")
        self._step, self._names = np.float32(steps[0]), _NAMES[: len(steps)]
        self._expected = [expectations(band.deviations, steps[0]) for band in profile.bands]

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

    @property
    def qualities(self) -> tuple[str, ...]:
        return tuple(sorted(_STAGES, key=_STAGES.__getitem__, reverse=True)) if self._quality == PROGRESSIVE else ()

    def coarser(self, quality: str) -> Codec:
        if self._quality != PROGRESSIVE or quality not in _STAGES:
            return super().coarser(quality)
        return Transform(self._profile, PROGRESSIVE, _STAGES[quality])

    def needs(self, section: str) -> bool:
        name = section.partition(".")[2]
        return name not in _NAMES[len(self._names) :]

    def encode(self, kv: KVArray, start: int) -> Sections:
        exact = self._num_sinks(kv, start)
        if exact:
            for band in self._profile.bands:
                yield (
                    f"{band.first}.sinks",
                    np.concatenate([self._bits(part) for part in band.parts(kv.tokens(0, exact))]),
                )
        if exact == kv.num_tokens:
            return
        bands = self._profile.bands
        z = [self._components(band, kv.tokens(exact, kv.num_tokens), start + exact) for band in bands]
        classes = [band.emphasis.of(each, band.deviations) for band, each in zip(bands, z, strict=True)]
        table_of_column = np.full(kv.num_tokens - exact, NUM_EXPECTATIONS)
        yield "0.emphasis", rans.encode(np.stack(classes), table_of_column, self._profile.tables.sides, _FEW_LANES)
        if self._quality == PROGRESSIVE:
            yield from self._encode_stages(z, classes)
            return
        for index, band in enumerate(bands):
            multiples = self._multiples(z[index], classes[index])
            packed = column_codes.pack(self._profile.tables, multiples, classes[index], self._expected[index])
            yield f"{band.first}.{_NAMES[0]}", packed

    def _encode_stages(self, z: Sequence[np.ndarray], classes: Sequence[np.ndarray]) -> Sections:
        """All bands' first stages, then all their second ones, then the third."""
        tables, left, cells = self._profile.tables, [], []
        for index, band in enumerate(self._profile.bands):
            coarse, rounded = refinement.first_stage(self._multiples(z[index], classes[index]))
            packed = column_codes.pack(tables, coarse, classes[index], self._expected[index], rarest=0)
            yield f"{band.first}.{_NAMES[0]}", packed
            columns = column_codes.unpack(tables, packed, classes[index], self._expected[index])
            rounded[:, columns.coded] -= refinement.middles(columns.multiples)
            left.append(rounded)
            cells.append(Cells.of(columns, classes[index], self._expected[index]))
        for name in _NAMES[1:]:
            for index, band in enumerate(self._profile.bands):
                left[index] *= 2
                packed = refinement.pack(cells[index], left[index], classes[index])
                yield f"{band.first}.{name}", packed
                left[index] -= refinement.unpack(cells[index], packed, classes[index])

    def _multiples(self, z: np.ndarray, classes: np.ndarray) -> np.ndarray:
        multiples: np.ndarray = z / (self._step * step_factors(classes))
        require_codable(self.id, multiples)
        return multiples

    def decode(self, read: ReadSection, out: KVArray, start: int, to: int) -> Iterator[int]:
        exact = self._num_sinks(out, start)
        behind = out.tokens(exact, out.num_tokens)
        classes = self._read_classes(read, behind.num_tokens) if behind.num_tokens else None
        for index, band in enumerate(self._profile.bands):
            if exact:
                self._read_sinks(band, read, out, exact, to)
            if classes is not None:
                self._read_rows(index, read, classes[index], behind, to + exact)
            yield band.end

    def decode_on_device(self, read: ReadTensor, out: KVArray, start: int, to: int) -> bool:
        """See `codec.transform_device` for how close to `decode` it is."""
        if not HAS_TRITON:
            return False
        from codec import transform_device

        progressive = self._quality == PROGRESSIVE
        coding = transform_device.Coding(self._profile, self._step, self._expected, self._names, progressive)
        transform_device.decode(coding, read, out, self._num_sinks(out, start), to)
        return True

    def _num_sinks(self, kv: KVArray, start: int) -> int:
        return min(self._profile.sinks, kv.num_tokens) if start == 0 else 0

    def _bits(self, part: torch.Tensor) -> np.ndarray:
        codable(self.id, part)
        return bits_of(part).ravel()

    def _components(self, band: Band, kv: KVArray, start: int) -> np.ndarray:
        """Float32 `[token, component]`."""
        parts = band.unturned(kv, self._profile.rotary, start)
        z = band.components(np.hstack([rows_of(self.id, part) for part in parts]))
        require_codable(self.id, z)
        return z

    def _read_classes(self, read: ReadSection, num_tokens: int) -> np.ndarray:
        """Uint8 `[band, token]`."""
        table_of_column = np.full(num_tokens, NUM_EXPECTATIONS)
        stream, num_bands = read("0.emphasis", np.uint8), len(self._profile.bands)
        classes = rans.decode(stream, num_bands, table_of_column, self._profile.tables.sides)
        if classes.max() >= CLASSES:
            raise CorruptFrame(f"a token's emphasis is of class {classes.max()}, which does not exist")
        return classes

    @np.errstate(over="ignore", invalid="ignore")  # what comes of a forged frame's numbers, `write` refuses
    def _read_rows(self, index: int, read: ReadSection, classes: np.ndarray, out: KVArray, to: int) -> None:
        band = self._profile.bands[index]
        coded, multiples = self._read_multiples(index, read, classes)
        steps = self._step * step_factors(classes)
        self._write(band, band.channels(coded, multiples, steps.ravel()), out, to)

    def _read_multiples(self, index: int, read: ReadSection, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which components of a band are not zero, and those in the tokens' steps, float32 `[token, those]`."""
        first, expected = self._profile.bands[index].first, self._expected[index]
        packed = read(f"{first}.{_NAMES[0]}", np.uint8)
        columns = column_codes.unpack(self._profile.tables, packed, classes, expected)
        if self._quality != PROGRESSIVE:
            return columns.coded, columns.multiples
        cells = Cells.of(columns, classes, expected)
        whole = np.zeros(cells.is_zero.shape, np.float32)
        whole[:, columns.coded] = refinement.middles(columns.multiples)
        for stage, name in enumerate(self._names[1:], start=1):
            moves = refinement.unpack(cells, read(f"{first}.{name}", np.uint8), classes)
            whole += moves * np.float32(0.5**stage)
        coded = np.flatnonzero(whole.any(axis=0))
        return coded, whole[:, coded]

    def _read_sinks(self, band: Band, read: ReadSection, out: KVArray, exact: int, to: int) -> None:
        parts = list(band.parts(out.tokens(0, exact)))
        unsigned = np.uint16 if parts[0].element_size() == 2 else np.uint32
        ends = np.cumsum([part.numel() for part in parts])
        stored = read(f"{band.first}.sinks", unsigned, (int(ends[-1]),))
        for part, bits in zip(parts, np.split(stored, ends[:-1]), strict=True):
            with words_to_write(part) as words:
                words[...] = bits.reshape(part.shape)
            if not part.isfinite().all():
                raise CorruptFrame("a sink holds a number that is not finite")
        for layer in range(band.first, band.end) if to else ():
            keys = out.keys[layer][:, :exact]
            write(self._profile.rotary[layer].move(keys, 0, to), keys)

    def _write(self, band: Band, x: np.ndarray, out: KVArray, to: int) -> None:
        """The band's channels `[token, channel]` to `out`, whose first token is to stand at position `to`."""
        inside, begin = far_within(x, out.keys[band.first].dtype), 0
        for layer in range(band.first, band.end):
            for room, rotary in ((out.keys[layer], self._profile.rotary[layer]), (out.values[layer], NO_ROTARY)):
                part = np.empty(room.shape, np.float32)
                put_on(x, begin, *rotary.cos_sin(to, out.num_tokens), part)
                room.copy_(torch.from_numpy(part)) if inside else write(torch.from_numpy(part), room)
                begin += room.shape[0] * room.shape[2]


def _steps_of(profile: Profile, quality: str | float) -> list[float]:
    if quality == PROGRESSIVE:
        if missing := _STAGES.keys() - profile.levels.keys():
            raise CorruptFrame(f"quality progressive takes a profile with the levels {', '.join(sorted(missing))}")
        high = min(profile.levels[name] * 2.0 ** (stages - 3) for name, stages in _STAGES.items())
        return [4 * high, 2 * high, high]
    step = profile.levels.get(quality) if isinstance(quality, str) else quality
    if type(step) is not float:
        raise CorruptFrame(f"quality {quality!r} is neither a step nor one of {', '.join(profile.levels)}")
    return [step]
