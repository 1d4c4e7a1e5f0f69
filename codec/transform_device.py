"""Frames of `transform` decoded in device memory: entropy decoding in Triton, the rest by torch where the tensors lie.

The same integers as on the CPU, multiplied by the same steps, and by the basis in float32 instead of the 16 bits of
`codec.int_product`. So what comes back differs by at most 2^-15 of a channel's largest number in its basis, times
the sum of the token's components, and by what float32 rounds away in another order, in cosines too. Where torch is
allowed TF32, which it is not unless somebody says so, the product's factors are rounded to 11 bits.

On the device lie a profile's bases, two bytes a number, outside of every tier's budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from codec.band import Band
from codec.codable import far_within, write
from codec.codec import ReadTensor
from codec.column_codes_device import Packed, unpack_all
from codec.column_tables import NUM_EXPECTATIONS
from codec.emphasis import CLASSES, MOST
from codec.errors import CorruptFrame
from codec.kv_array import KVArray
from codec.profile import Profile
from codec.rans_gpu import Stream, decode_streams
from codec.refinement_device import DeviceCells, refine_all
from codec.rotary import NO_ROTARY, Rotary


@dataclass(frozen=True, eq=False)
class Coding:
    """How frames are coded: under which profile, in steps of which size (the first stage's), what is expected of the
    columns of each band, and which sections each band has: all but the first are refinements."""

    profile: Profile
    step: np.float32
    expected: Sequence[np.ndarray]
    sections: Sequence[str]
    progressive: bool


def decode(coding: Coding, read: ReadTensor, out: KVArray, exact: int, to: int) -> None:
    """As `Transform.decode`; the first `exact` tokens are sinks."""
    bands, rotary = coding.profile.bands, coding.profile.rotary
    behind = out.tokens(exact, out.num_tokens)
    for band in bands if exact else ():
        _read_sinks(band, rotary, read, out.tokens(0, exact), to)
    if not behind.num_tokens:
        return
    classes = _classes(coding.profile, read, behind)
    columns = _multiples(coding, read, classes)
    for band, bases, (coded, multiples), of_rows in zip(
        bands, _bases_on(coding.profile, out.device), columns, classes, strict=True
    ):
        steps = float(coding.step) * torch.exp2((MOST - of_rows.float()) / 2)[:, None]
        _write(band, rotary, _channels(bases, coded, multiples * steps), behind, to + exact)


def _classes(profile: Profile, read: ReadTensor, behind: KVArray) -> torch.Tensor:
    """Uint8 `[band, token]`."""
    columns = torch.full((1, behind.num_tokens), NUM_EXPECTATIONS, device=behind.device)
    stream = Stream(read("0.emphasis", np.uint8), len(profile.bands), columns)
    (classes,) = decode_streams([stream], profile.tables.sides)
    if int(classes.max()) >= CLASSES:
        raise CorruptFrame(f"a token's emphasis is of class {int(classes.max())}, which does not exist")
    return classes


def _multiples(coding: Coding, read: ReadTensor, classes: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """By band: which components are not zero, int64, and those in the tokens' steps, float32 `[token, those]`."""
    bands = coding.profile.bands
    packed = [
        Packed(
            read(f"{band.first}.{coding.sections[0]}", np.uint8), of_rows, torch.from_numpy(expected).to(classes.device)
        )
        for band, of_rows, expected in zip(bands, classes, coding.expected, strict=True)
    ]
    columns = unpack_all(coding.profile.tables, packed)
    if not coding.progressive:
        return [(each.coded, each.multiples) for each in columns]
    cells = [DeviceCells.of(*each) for each in zip(columns, packed, strict=True)]
    for section in coding.sections[1:]:
        refine_all(cells, [read(f"{band.first}.{section}", np.uint8) for band in bands])
    coded = [each.whole.any(dim=0).nonzero()[:, 0] for each in cells]
    return [(columns_of, each.whole[:, columns_of]) for columns_of, each in zip(coded, cells, strict=True)]


@dataclass(frozen=True, eq=False)
class _Basis:
    """`mean` float32 `[channel]`, `directions` float16 `[channel, component]`, `gains` float32 `[component]`."""

    mean: torch.Tensor
    directions: torch.Tensor
    gains: torch.Tensor


@lru_cache(maxsize=2)
def _bases_on(profile: Profile, device: torch.device) -> list[list[_Basis]]:
    """Each band's, on the device."""

    def there(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.copy()).to(device)

    return [
        [_Basis(there(basis.mean), there(basis.directions), there(basis.gains)) for basis in band.bases]
        for band in profile.bands
    ]


def _channels(bases: Sequence[_Basis], coded: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """As `Band.channels`, of components `[token, coded]`."""
    sizes = [len(basis.mean) for basis in bases]
    ends = torch.tensor(sizes, device=coded.device).cumsum(0)
    blocks, begin, start = [], 0, 0
    for basis, split, size in zip(bases, torch.searchsorted(coded, ends).tolist(), sizes, strict=True):
        columns = coded[begin:split] - start
        synthesis = basis.directions[:, columns].float() * basis.gains[columns]
        blocks.append(torch.addmm(basis.mean, z[:, begin:split], synthesis.T))
        begin, start = split, start + size
    return torch.cat(blocks, dim=1)


def _read_sinks(band: Band, rotary: Sequence[Rotary], read: ReadTensor, out: KVArray, to: int) -> None:
    parts = list(band.parts(out))
    unsigned, sizes = (np.uint16 if parts[0].element_size() == 2 else np.uint32), [part.numel() for part in parts]
    stored = read(f"{band.first}.sinks", unsigned, (sum(sizes),)).view(parts[0].dtype)
    if not bool(stored.isfinite().all()):
        raise CorruptFrame("a sink holds a number that is not finite")
    for part, numbers in zip(parts, torch.split(stored, sizes), strict=True):
        part.copy_(numbers.view(part.shape))
    for layer in range(band.first, band.end) if to else ():
        write(rotary[layer].move(out.keys[layer], 0, to), out.keys[layer])


def _write(band: Band, rotary: Sequence[Rotary], x: torch.Tensor, out: KVArray, to: int) -> None:
    """The band's channels `[token, channel]` to `out`, whose first token is to stand at position `to`."""
    inside, begin = far_within(x, out.keys[band.first].dtype), 0
    for layer in range(band.first, band.end):
        for room, turn in ((out.keys[layer], rotary[layer]), (out.values[layer], NO_ROTARY)):
            heads, num_tokens, dim = room.shape
            part = x[:, begin : begin + heads * dim].reshape(num_tokens, heads, dim).transpose(0, 1)
            part = turn.put_on(part, to)
            room.copy_(part) if inside else write(part, room)
            begin += heads * dim
