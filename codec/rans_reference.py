"""The entropy coder once more, slow and plain: the specification that `codec.rans` must match byte for byte."""

from __future__ import annotations

import struct

import numpy as np

from codec.errors import CorruptFrame
from codec.rans_tables import Tables

_INITIAL = 1 << 16
_LANES = (8, 16, 32, 64)


def encode(
    symbols: np.ndarray,
    table_of_column: np.ndarray,
    tables: Tables,
    num_lanes: int = 32,
    class_of_row: np.ndarray | None = None,
) -> bytes:
    """The stream of `symbols`, uint8 `[row, column]`, in the format that `codec.rans` describes."""
    frequencies = tables.frequencies.tolist()
    flat, table_of_symbol = symbols.ravel().tolist(), _table_of_symbol(len(symbols), table_of_column, class_of_row)
    states, words = [_INITIAL] * num_lanes, []
    for position in reversed(range(len(flat))):
        row = frequencies[table_of_symbol[position]]
        start, frequency = sum(row[: flat[position]]), row[flat[position]]
        state = states[position % num_lanes]
        if state >= frequency << 20:
            words.append(state & 0xFFFF)
            state >>= 16
        states[position % num_lanes] = (state // frequency << 12) + start + state % frequency
    words.reverse()
    return struct.pack(f"<II{num_lanes}I{len(words)}H", len(flat), num_lanes, *states, *words)


def decode(
    stream: bytes,
    num_rows: int,
    table_of_column: np.ndarray,
    tables: Tables,
    class_of_row: np.ndarray | None = None,
) -> np.ndarray:
    """The symbols of a stream, uint8 `[row, column]`. Raises CorruptFrame when it is not such a stream."""
    try:
        num_symbols, num_lanes = struct.unpack_from("<II", stream)
        states = list(struct.unpack_from(f"<{num_lanes}I", stream, 8))
        words = [word for (word,) in struct.iter_unpack("<H", stream[8 + 4 * num_lanes :])]
    except struct.error as error:
        raise CorruptFrame(f"not an entropy-coded stream: {error}") from error
    if num_lanes not in _LANES or min(states) < _INITIAL:
        raise CorruptFrame(f"a lane of {num_lanes} is not one that an encoder leaves behind")
    num_columns = np.shape(table_of_column)[-1]
    if num_symbols != num_rows * num_columns:
        raise CorruptFrame(f"the stream holds {num_symbols} symbols, not {num_rows} rows of {num_columns}")
    owners = [np.repeat(np.arange(tables.num_symbols), row).tolist() for row in tables.frequencies]
    frequencies = tables.frequencies.tolist()
    flat, unread = [], iter(words)
    for position, table in enumerate(_table_of_symbol(num_rows, table_of_column, class_of_row)):
        state = states[position % num_lanes]
        slot = state % 4096
        symbol = owners[table][slot]
        state = frequencies[table][symbol] * (state >> 12) + slot - sum(frequencies[table][:symbol])
        if state < _INITIAL:
            state = state << 16 | next(unread, 0)
        states[position % num_lanes] = state
        flat.append(symbol)
    if states != [_INITIAL] * num_lanes or next(unread, None) is not None:
        raise CorruptFrame("the stream does not end where its symbols do")
    return np.array(flat, np.uint8).reshape(num_rows, num_columns)


def _table_of_symbol(num_rows: int, table_of_column: np.ndarray, class_of_row: np.ndarray | None) -> list[int]:
    columns = np.atleast_2d(table_of_column)
    classes = [0] * num_rows if class_of_row is None else class_of_row
    return [int(table) for row_class in classes for table in columns[row_class]]
