"""The decoder of `codec.rans` in Triton: the same bytes, one program per stream, its lanes in parallel.

A stream alone keeps one warp busy; a GPU is filled by decoding many streams, of whatever rows and columns, in one
call. Each lane finds its word by a prefix sum over the lanes that are short (see `codec.rans`). Streams lie in
device memory and are read nowhere else, their heads included. Needs Triton, which PyTorch for CUDA brings; with
TRITON_INTERPRET=1 it runs, slowly, without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
import triton
import triton.language as tl

from codec.errors import CorruptFrame
from codec.rans import HEADER_BYTES, LANES, checked_classes, checked_columns
from codec.rans_tables import Tables

_MAX_SYMBOLS = (1 << 31) - max(LANES)
_SMALLEST = HEADER_BYTES + 4 * min(LANES)


@dataclass(frozen=True, eq=False)
class Stream:
    """A stream in device memory, and what its symbols are under.

    `data` is uint8 `[byte]`; `table_of_column` integers `[class, column]`, each a table there is; `class_of_row`
    integers `[row]`, each a class there is, or None where there is one class. All on one device.
    """

    data: torch.Tensor
    num_rows: int
    table_of_column: torch.Tensor
    class_of_row: torch.Tensor | None = None


@triton.jit
def _u32(data, at):  # type: ignore[no-untyped-def]
    """The little-endian numbers that begin at bytes `at`, which may be any."""
    number = tl.load(data + at).to(tl.uint32) | (tl.load(data + at + 1).to(tl.uint32) << 8)
    return number | (tl.load(data + at + 2).to(tl.uint32) << 16) | (tl.load(data + at + 3).to(tl.uint32) << 24)


@triton.jit
def _decode_kernel(  # type: ignore[no-untyped-def]
    data,
    jobs,
    table_of_column,
    class_of_row,
    slots,
    out,
    wrong,
    LANES: tl.constexpr,  # noqa: N803
):
    """Decodes stream `program_id(0)`; leaves in `wrong` whether it is none of so many symbols, or not even.

    `jobs` are int64 `[stream, 7]`, as `decode_streams` lays them out.
    """
    job = jobs + tl.program_id(0).to(tl.int64) * 7
    begin, end, num_columns = tl.load(job), tl.load(job + 1), tl.load(job + 3).to(tl.int32)
    num_symbols = tl.load(job + 2).to(tl.int32) * num_columns
    columns_at, classes_at, out_at = tl.load(job + 4), tl.load(job + 5), tl.load(job + 6)
    lane = tl.arange(0, LANES)
    stated, num_lanes = _u32(data, begin), _u32(data, begin + 4).to(tl.int32)
    is_known = (num_lanes == 8) | (num_lanes == 16) | (num_lanes == 32) | (num_lanes == 64)
    word = begin + 8 + 4 * num_lanes.to(tl.int64)
    is_whole = is_known & (word <= end) & (stated == num_symbols.to(tl.uint32))
    num_lanes, num_symbols = tl.where(is_whole, num_lanes, LANES), tl.where(is_whole, num_symbols, 0)
    is_lane = (lane < num_lanes) & is_whole
    state = tl.where(is_lane, _u32(data, tl.where(is_lane, begin + 8 + 4 * lane, begin)), 65536)
    is_whole = is_whole & (tl.sum((state < 65536).to(tl.int32), 0) == 0)
    for first in range(0, num_symbols, num_lanes):
        symbol = first + lane
        active = (lane < num_lanes) & (symbol < num_symbols)
        row, column = symbol // num_columns, symbol % num_columns
        row_class = tl.load(class_of_row + classes_at + row, mask=active, other=0)
        table = tl.load(table_of_column + columns_at + row_class * num_columns + column, mask=active, other=0)
        slot = tl.load(slots + table * 4096 + (state & 4095).to(tl.int32), mask=active, other=0)
        tl.store(out + out_at + symbol, (slot & 255).to(tl.uint8), mask=active)
        decoded = (((slot >> 8) & 4095) + 1) * (state >> 12) + (slot >> 20)
        short = active & (decoded < 65536)
        taken = short.to(tl.int64)
        place = word + 2 * (tl.cumsum(taken, 0) - taken)
        there = short & (place < end)
        fresh = tl.load(data + place, mask=there, other=0).to(tl.uint32)
        fresh |= tl.load(data + place + 1, mask=there, other=0).to(tl.uint32) << 8
        state = tl.where(active, tl.where(short, (decoded << 16) | fresh, decoded), state)
        word += 2 * tl.sum(taken, 0)
    is_even = (tl.sum((state != 65536).to(tl.int32), 0) == 0) & (word == end)
    tl.store(wrong + tl.program_id(0), 1 - (is_whole & is_even).to(tl.int32))


def decode_streams(streams: Sequence[Stream], tables: Tables) -> list[torch.Tensor]:
    """The symbols of every stream, uint8 `[row, column]`, on their device; the stream's arguments are trusted.

    Raises CorruptFrame when any of them is not one of so many symbols or does not come out even, ValueError when
    it has more symbols than 32 bits count. Nothing is read or written outside of what was given, whatever the
    streams hold.
    """
    if not streams:
        return []
    shapes = [(stream.num_rows, stream.table_of_column.shape[1]) for stream in streams]
    sizes = [num_rows * num_columns for num_rows, num_columns in shapes]
    if max(sizes) > _MAX_SYMBOLS:
        raise ValueError(f"{max(sizes)} symbols are too many for one stream on a GPU: at most {_MAX_SYMBOLS}")
    if any(len(stream.data) < _SMALLEST or len(stream.data) % 2 for stream in streams):
        raise CorruptFrame("an entropy-coded stream is too short, or of half a word")
    device = streams[0].data.device
    out_at = list(accumulate(sizes, initial=0))
    out = torch.empty(out_at[-1], dtype=torch.uint8, device=device)
    wrong = torch.empty(len(streams), dtype=torch.int32, device=device)
    with torch.cuda.device(out.get_device()):
        _decode_kernel[(len(streams),)](
            torch.cat([stream.data for stream in streams]),
            torch.tensor(_jobs(streams, out_at), device=device),
            torch.cat([stream.table_of_column.flatten().int() for stream in streams]),
            torch.cat([_class_of_row(stream) for stream in streams]),
            _slots_on(tables, device),
            out,
            wrong,
            LANES=max(LANES),
            num_warps=1,
        )
    if bool(wrong.any()):
        raise CorruptFrame(
            f"entropy-coded streams {wrong.nonzero()[:, 0].tolist()} do not hold the symbols they should"
        )
    return [out[at : at + size].view(shape) for at, size, shape in zip(out_at, sizes, shapes, strict=False)]


def _jobs(streams: Sequence[Stream], out_at: Sequence[int]) -> list[list[int]]:
    """Per stream: its bytes [begin, end), rows, columns, and where its tables, classes and symbols begin."""
    jobs, byte, tables_at, row = [], 0, 0, 0
    for stream, symbols_at in zip(streams, out_at, strict=False):
        num_columns = stream.table_of_column.shape[1]
        jobs.append([byte, byte + len(stream.data), stream.num_rows, num_columns, tables_at, row, symbols_at])
        byte, tables_at, row = (
            byte + len(stream.data),
            tables_at + stream.table_of_column.numel(),
            row + stream.num_rows,
        )
    return jobs


def _class_of_row(stream: Stream) -> torch.Tensor:
    if stream.class_of_row is None:
        return torch.zeros(stream.num_rows, dtype=torch.int32, device=stream.data.device)
    return stream.class_of_row.int()


@lru_cache(maxsize=16)
def _slots_on(tables: Tables, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(tables.slots.ravel()).to(device)


def decode(
    streams: Sequence[np.ndarray],
    num_rows: int,
    table_of_column: np.ndarray,
    tables: Tables,
    device: torch.device | str = "cuda",
    class_of_row: np.ndarray | None = None,
) -> torch.Tensor:
    """The symbols of every stream, uint8 `[stream, num_rows, column]`, on `device`; all under the same columns.

    `class_of_row`, where there are classes, is integers `[stream, row]`: the rows of each stream have their own.
    Raises as `decode_streams`, and ValueError when a table or a class does not exist or `class_of_row` has another
    shape.
    """
    columns = checked_columns(table_of_column, class_of_row, tables)
    classes = checked_classes(class_of_row, (len(streams), num_rows), columns)
    if not streams:
        return torch.empty((0, num_rows, columns.shape[1]), dtype=torch.uint8, device=device)
    under = torch.from_numpy(columns).to(device)
    of_rows = torch.from_numpy(classes.reshape(len(streams), -1)).to(device)
    there = [
        Stream(torch.from_numpy(stream).to(device), num_rows, under, None if class_of_row is None else row_classes)
        for stream, row_classes in zip(streams, of_rows, strict=True)
    ]
    return torch.stack(decode_streams(there, tables))
