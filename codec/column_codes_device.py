"""Columns of multiples, as `codec.column_codes` packs them, read in device memory: those of many bands at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from codec.column_codes import COUNTS, FAR
from codec.column_tables import ESCAPE, NUM_TABLES, REACH, ColumnTables, shifted
from codec.errors import CorruptFrame
from codec.rans_gpu import Stream, decode_streams


@dataclass(frozen=True, eq=False)
class Packed:
    """What `codec.column_codes.pack` gave, uint8 `[byte]`; the rows' classes and the columns' expectations."""

    data: torch.Tensor
    classes: torch.Tensor
    expected: torch.Tensor


@dataclass(frozen=True, eq=False)
class DeviceColumns:
    """As `codec.column_codes.Columns`: int64 `[coded]` twice, and float32 `[row, coded]`."""

    coded: torch.Tensor
    tables: torch.Tensor
    multiples: torch.Tensor


def unpack_all(tables: ColumnTables, packed: Sequence[Packed]) -> list[DeviceColumns]:
    """As `codec.column_codes.unpack`, each; whatever was packed, no more is read than that."""
    parts = _parts([each.data for each in packed])
    chosen = decode_streams(
        [Stream(choices, 1, each.expected[None]) for (_, _, choices, _), each in zip(parts, packed, strict=True)],
        tables.sides,
    )
    coded = [row[0].nonzero()[:, 0] for row in chosen]
    table_of = [row[0, columns].long() - 1 for row, columns in zip(chosen, coded, strict=True)]
    some = [index for index, columns in enumerate(coded) if len(columns)]
    streams = [
        Stream(parts[i][3], len(packed[i].classes), _shifts_on(chosen[i].device)[:, table_of[i]], packed[i].classes)
        for i in some
    ]
    symbols = [each.classes.new_empty((len(each.classes), 0)) for each in packed]
    for index, decoded in zip(some, decode_streams(streams, tables.symbols), strict=True):
        symbols[index] = decoded
    if any(len(part[3]) and index not in some for index, part in enumerate(parts)):
        raise CorruptFrame("a stream of no symbols is not empty")
    return [
        DeviceColumns(coded[index], table_of[index], _multiples(symbols[index], far, near))
        for index, (far, near, _, _) in enumerate(parts)
    ]


def _parts(packed: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, ...]]:
    """Of each its far escapes float32, near escapes, choices and symbols, uint8, as `codec.column_codes` has them."""
    start = 3 * COUNTS.itemsize
    if min(len(data) for data in packed) < start:
        raise CorruptFrame("a band has too few bytes for columns")
    heads = torch.stack([data[:start] for data in packed]).cpu().numpy().view(COUNTS)
    parts = []
    for data, (far, near, choices) in zip(packed, heads.tolist(), strict=True):
        sizes = [start, 4 * far, near, choices]
        if sum(sizes) > len(data):
            raise CorruptFrame("the escapes and choices of columns are longer than all of them")
        _, far, *others = torch.split(data, [*sizes, len(data) - sum(sizes)])
        parts.append((far.clone().view(torch.float32), *others))
    return parts


def _multiples(symbols: torch.Tensor, far: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """Float32 `[row, column]` of symbols, the escapes among them being those numbers in turn."""
    is_far, is_escape = near == FAR, symbols == ESCAPE
    if int(is_far.sum()) != len(far) or int(is_escape.sum()) != len(near):
        raise CorruptFrame("the escapes are not those that the symbols speak of")
    if not bool(far.isfinite().all()):
        raise CorruptFrame("an escape is not a finite number")
    escaped = (1 - 2 * (near & 1).float()) * ((near >> 1).float() + (REACH + 1))
    escaped[is_far] = far
    multiples = symbols.float() - REACH
    multiples[is_escape] = escaped
    return multiples


@lru_cache(maxsize=8)
def _shifts_on(device: torch.device) -> torch.Tensor:
    """`shifted` of every table, `[class, table]`."""
    return torch.from_numpy(shifted(np.arange(NUM_TABLES))).to(device)
