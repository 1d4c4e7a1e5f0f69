"""The decoder of `codec.rans` in Triton: the same bytes, one program per stream, its lanes in parallel.

A stream alone keeps one warp busy; a GPU is filled by decoding the streams of many layers and chunks in one
call. Each lane finds its word by a prefix sum over the lanes that are short (see `codec.rans`). Needs Triton,
which PyTorch for CUDA brings; with TRITON_INTERPRET=1 it runs, slowly, without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from codec.errors import CorruptFrame
from codec.rans import INITIAL_STATE, checked_classes, checked_columns, parse
from codec.rans_kernels import WORDS_READ_AHEAD, table_starts
from codec.rans_tables import NUM_SLOTS, Tables

_MAX_SYMBOLS = (1 << 31) - 64


@triton.jit
def _decode_kernel(  # type: ignore[no-untyped-def]
    words,
    ends,
    states,
    num_lanes_of,
    starts,
    class_of_row,
    slots,
    out,
    wrong,
    num_rows,
    num_columns,
    width,
    LANES: tl.constexpr,  # noqa: N803
):
    """Decodes stream `program_id(0)`; leaves in `wrong` how many of its lanes and words do not come out even."""
    stream = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    num_symbols, num_lanes = num_rows * num_columns, tl.load(num_lanes_of + stream)
    word, end = tl.load(ends + stream), tl.load(ends + stream + 1)
    state = tl.load(states + stream * LANES + lane)
    for begin in range(0, num_symbols, num_lanes):
        symbol = begin + lane
        active = (lane < num_lanes) & (symbol < num_symbols)
        row_class = tl.load(class_of_row + stream * num_rows + symbol // num_columns, mask=active, other=0)
        start = tl.load(starts + row_class * width + symbol % num_columns, mask=active, other=0)
        slot = tl.load(slots + start + (state & 4095), mask=active, other=0)
        tl.store(out + stream * num_symbols + symbol, (slot & 255).to(tl.uint8), mask=active)
        decoded = (((slot >> 8) & 4095) + 1) * (state >> 12) + (slot >> 20)
        short = active & (decoded < 65536)
        taken = short.to(tl.int64)
        place = word + tl.cumsum(taken, 0) - taken
        fresh = tl.load(words + place, mask=short & (place < end), other=0).to(tl.uint32)
        state = tl.where(active, tl.where(short, (decoded << 16) | fresh, decoded), state)
        word += tl.sum(taken, 0)
    tl.store(wrong + stream, tl.sum((state != 65536).to(tl.int32), 0) + (word != end).to(tl.int32))


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
    Raises CorruptFrame when any of the streams is not one of `num_rows * columns` symbols or does not come out
    even, and ValueError when a table or a class does not exist, `class_of_row` has another shape, or there are
    more symbols than 32 bits count.
    """
    columns = checked_columns(table_of_column, class_of_row, tables)
    num_columns = columns.shape[1]
    num_symbols = num_rows * num_columns
    if num_symbols > _MAX_SYMBOLS:
        raise ValueError(f"{num_symbols} symbols are too many for one stream on a GPU: at most {_MAX_SYMBOLS}")
    parsed = [parse(stream, num_symbols) for stream in streams]
    out = torch.empty((len(streams), num_rows, num_columns), dtype=torch.uint8, device=device)
    classes = checked_classes(class_of_row, (len(streams), num_rows), columns)
    if not parsed:
        return out
    starts = table_starts(columns, NUM_SLOTS)
    num_lanes = np.array([states.size for states, _ in parsed])
    states = np.full((len(parsed), num_lanes.max()), INITIAL_STATE, np.uint32)
    for padded, (given, _) in zip(states, parsed, strict=True):
        padded[: given.size] = given
    words = [words[: words.size - WORDS_READ_AHEAD] for _, words in parsed]
    ends = np.cumsum([0, *(part.size for part in words)])

    def there(array: np.ndarray) -> Any:
        return torch.from_numpy(array).to(device)

    wrong = torch.empty(len(parsed), dtype=torch.int32, device=device)
    _decode_kernel[(len(parsed),)](
        there(np.concatenate([*words, np.zeros(1, np.uint16)])), there(ends), there(states), there(num_lanes),
        there(starts), there(classes), there(tables.slots.ravel()), out, wrong, num_rows, num_columns, starts.shape[1],
        LANES=states.shape[1], num_warps=1,
    )  # fmt: skip
    if bool(wrong.any()):
        raise CorruptFrame(f"entropy-coded streams {wrong.nonzero()[:, 0].tolist()} do not end where their symbols do")
    return out
