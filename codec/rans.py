"""Interleaved range ANS: uint8 symbols to bits and back, near their entropy, many lanes at once.

Range ANS (Duda 2013, arXiv 1311.2540) keeps a number x per coder. Coding a symbol of frequency f and first
slot b, in a table whose frequencies sum to 4096, makes it (x // f) * 4096 + b + x % f; decoding undoes that,
last symbol first. Here x is 32 bits, stays in [2**16, 2**32), and moves 16 bits at a time: before coding, when
x >= f * 2**20, its low 16 bits become a word of the stream; after decoding, when x < 2**16, the next word is
shifted in. One word per symbol always suffices. L such coders, the lanes, take turns (Giesen 2014, arXiv
1402.3392): they share one stream of words and need nothing else from each other.

A stream, little-endian:

    offset   bytes  what
    0        4      u32: N, the number of symbols
    4        4      u32: L, the number of lanes: 8, 16, 32 or 64
    8        4 L    u32 each: the lanes' states as the encoder left them, each at least 2**16
    8 + 4 L  to the end, 2 each   u16: the words

Symbols are counted 0, 1, ..., N - 1 in row-major order of `[row, column]`. Symbol i belongs to lane i mod L and
is coded under the table of column i mod columns; where rows are of several classes, under the one that its row's
class has for that column. Tables, columns and classes are not in the stream: its bytes are laid out the same
with classes and without, and a single class is as none. The decoder goes through the symbols in that order, and
whenever a lane is short after its symbol it takes the next word. So in the step that decodes symbols
[k L, (k + 1) L), the words are taken in the order of the lanes that are short: with all L lanes at work at
once, lane l reads the word at (words read in earlier steps) + (number of short lanes before l), a prefix sum.

The encoder starts every lane at 2**16 and codes the symbols backwards. So a decoder that got it right ends
with every lane at 2**16 and every word taken, which is checked. What that leaves to chance (about 16 bits per
lane were wrong) is for the frame's checksums. A stream has 8 + 4 L bytes that are not words; half of each
state is information, so many lanes cost 2 bytes each: small streams are better off with few of them.

`codec.rans_reference` is the same in plain Python, `codec.rans_kernels`, `codec.rans_encode_kernels`
and `codec.rans_avx2` what runs.
"""

from __future__ import annotations

import struct

import numpy as np

from codec import rans_encode_kernels, rans_kernels
from codec.errors import CorruptFrame
from codec.rans_tables import MAX_SYMBOLS, NUM_SLOTS, Tables

LANES = (8, 16, 32, 64)
INITIAL_STATE = 1 << 16
HEADER_BYTES = 8
_MAX_STREAM_SYMBOLS = (1 << 32) - 1


def encode(
    symbols: np.ndarray,
    table_of_column: np.ndarray,
    tables: Tables,
    num_lanes: int = 32,
    class_of_row: np.ndarray | None = None,
) -> np.ndarray:
    """The stream, uint8 `[byte]`, of `symbols`, uint8 `[row, column]`.

    Column c is under table `table_of_column[c]`; with `class_of_row`, integers `[row]`, the symbol in row r and
    column c is under `table_of_column[class_of_row[r], c]`. Raises ValueError when a symbol is not in the tables'
    alphabet, a table or a class does not exist, or an array has another dtype or shape. Releases the GIL; needs
    2 bytes of memory per symbol while it runs.
    """
    if symbols.dtype != np.uint8 or symbols.ndim != 2 or symbols.size > _MAX_STREAM_SYMBOLS:
        raise ValueError(f"symbols must be uint8 [row, column], got {symbols.dtype} {symbols.shape}")
    if num_lanes not in LANES:
        raise ValueError(f"num_lanes must be one of {LANES}, got {num_lanes}")
    columns = checked_columns(table_of_column, class_of_row, tables)
    if columns.shape[1] != symbols.shape[1]:
        raise ValueError(f"table_of_column is for {columns.shape[1]} columns, the symbols have {symbols.shape[1]}")
    classes = checked_classes(class_of_row, (len(symbols),), columns)
    if symbols.size and symbols.max() >= tables.num_symbols:
        raise ValueError(f"symbol {symbols.max()} is not one of the {tables.num_symbols} that the tables have")
    states, words = np.full(num_lanes, INITIAL_STATE, np.uint32), np.empty(symbols.size, np.uint16)
    if symbols.size:
        starts = rans_kernels.table_starts(columns, MAX_SYMBOLS)
        first = rans_encode_kernels.encode(symbols.ravel(), starts, classes, tables, states, words)
        words = words[first:]
    header = np.array([symbols.size, num_lanes, *states], "<u4")
    return np.concatenate([header.view(np.uint8), words.astype("<u2", copy=False).view(np.uint8)])


def decode(
    stream: np.ndarray,
    num_rows: int,
    table_of_column: np.ndarray,
    tables: Tables,
    out: np.ndarray | None = None,
    class_of_row: np.ndarray | None = None,
) -> np.ndarray:
    """The symbols that were encoded, uint8 `[num_rows, column]`, in `out` when it is given.

    `table_of_column`, `tables` and `class_of_row` are those of the encoder; under others the outcome is
    CorruptFrame or wrong symbols. Raises CorruptFrame when `stream` (uint8 `[byte]`) is not one of
    `num_rows * columns` symbols or its states and words do not come out even; `out` is then part-written. Raises
    ValueError when a table or a class does not exist, an array has another dtype or shape than `encode` asks for,
    or `out` is not C-contiguous uint8 `[num_rows, column]`. Releases the GIL.
    """
    columns = checked_columns(table_of_column, class_of_row, tables)
    num_columns = columns.shape[1]
    states, words = parse(stream, num_rows * num_columns)
    out = _room(num_rows, num_columns, out)
    classes = checked_classes(class_of_row, (num_rows,), columns)
    num_words = 0
    if out.size:
        starts = rans_kernels.table_starts(columns, NUM_SLOTS)
        num_words = rans_kernels.decode(words, states, starts, classes, tables.slots.ravel(), out.ravel())
    if num_words != words.size - rans_kernels.WORDS_READ_AHEAD or states.tolist() != [INITIAL_STATE] * states.size:
        raise CorruptFrame("the entropy-coded stream does not end where its symbols do")
    return out


def checked_columns(table_of_column: np.ndarray, class_of_row: np.ndarray | None, tables: Tables) -> np.ndarray:
    """`table_of_column` as int64 `[class, column]`, of one class when there is no `class_of_row`.

    Raises ValueError when it is not integers of that shape (`[column]` when there are no classes), or a column
    names no table there is.
    """
    given = np.asarray(table_of_column)
    if given.ndim != (1 if class_of_row is None else 2) or (given.size and given.dtype.kind not in "iu"):
        shape = "[column]" if class_of_row is None else "[class, column]"
        raise ValueError(f"table_of_column must be integers {shape}, got {given.dtype} {given.shape}")
    columns = np.ascontiguousarray(given, np.int64)
    if not rans_kernels.all_below(columns.ravel(), tables.num_tables):
        raise ValueError(f"table_of_column names tables outside of [0, {tables.num_tables})")
    return columns if columns.ndim == 2 else columns[None]


def checked_classes(class_of_row: np.ndarray | None, shape: tuple[int, ...], columns: np.ndarray) -> np.ndarray:
    """`class_of_row` as int64 of `shape`, whose last axis is rows, for `columns` `[class, column]`.

    All 0 when it is None (and empty when there are no columns: rows of nothing take no memory, however many).
    Raises ValueError when it is not integers of that shape, or names a class that does not exist.
    """
    if class_of_row is None:
        return np.zeros(shape if columns.size else 0, np.int64)
    given = np.asarray(class_of_row)
    if given.shape != shape or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"class_of_row must be integers {shape}, got {given.dtype} {given.shape}")
    classes = np.ascontiguousarray(given, np.int64)
    if not rans_kernels.all_below(classes.ravel(), len(columns)):
        raise ValueError(f"class_of_row names classes outside of [0, {len(columns)})")
    return classes


def _room(num_rows: int, num_columns: int, out: np.ndarray | None) -> np.ndarray:
    if out is None:
        return np.empty((num_rows, num_columns), np.uint8)
    if (
        out.dtype != np.uint8
        or out.shape != (num_rows, num_columns)
        or not out.flags.c_contiguous
        or not out.flags.writeable
    ):
        raise ValueError(
            f"out must be writeable C-contiguous uint8 ({num_rows}, {num_columns}), got {out.dtype} {out.shape}"
        )
    return out


def parse(stream: np.ndarray, num_symbols: int) -> tuple[np.ndarray, np.ndarray]:
    """The states uint32 `[lane]` of a stream, and its words, uint16, with `WORDS_READ_AHEAD` zeros behind them.

    Raises CorruptFrame when the header is not that of a stream of `num_symbols` symbols, or was cut short.
    """
    start = HEADER_BYTES + 4 * checked_lanes(stream, num_symbols)
    stream = np.ascontiguousarray(stream)
    states = np.frombuffer(stream, "<u4", (start - HEADER_BYTES) // 4, HEADER_BYTES).astype(np.uint32)
    if min(states.tolist()) < INITIAL_STATE:
        raise CorruptFrame("a lane of the stream begins below its range")
    num_words = (stream.size - start) // 2
    words = np.empty(num_words + rans_kernels.WORDS_READ_AHEAD, np.uint16)
    words[:num_words] = np.frombuffer(stream, "<u2", num_words, start)
    words[num_words:] = 0
    return states, words


def checked_lanes(stream: np.ndarray, num_symbols: int) -> int:
    """How many lanes a stream has. Raises CorruptFrame as `parse`, which looks at the states too."""
    if stream.dtype != np.uint8 or stream.ndim != 1:
        raise ValueError(f"a stream is uint8 [byte], got {stream.dtype} {stream.shape}")
    if stream.size < HEADER_BYTES:
        raise CorruptFrame(f"{stream.size} bytes are too few for an entropy-coded stream")
    stated, num_lanes = struct.unpack("<II", stream[:HEADER_BYTES].tobytes())
    if stated != num_symbols:
        raise CorruptFrame(f"the stream holds {stated} symbols, expected {num_symbols}")
    if num_lanes not in LANES or stream.size < HEADER_BYTES + 4 * num_lanes or stream.size % 2:
        raise CorruptFrame(f"a stream of {num_lanes} lanes cannot have {stream.size} bytes")
    return int(num_lanes)
