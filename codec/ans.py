"""Columns of symbols, each under one of some tables, to bytes and back: constriction's ANS coder."""

from __future__ import annotations

from dataclasses import dataclass

import constriction
import numpy as np

from codec.errors import CorruptFrame

_TOTAL = 1 << 12


@dataclass(frozen=True)
class Tables:
    """`frequencies` uint16 `[table, symbol]`; each row adds up to 4096."""

    frequencies: np.ndarray


def fit_tables(counts: np.ndarray) -> Tables:
    """The tables nearest to `counts` `[table, symbol]`; a symbol that was counted gets at least 1."""
    present = counts > 0
    share = counts / counts.sum(axis=1, keepdims=True) * (_TOTAL - present.sum(axis=1, keepdims=True))
    frequencies = np.floor(share).astype(np.int64) + present
    rows = np.arange(len(counts))
    frequencies[rows, counts.argmax(axis=1)] += _TOTAL - frequencies.sum(axis=1)
    return Tables(frequencies.astype(np.uint16))


def encode(symbols: np.ndarray, table_of_column: np.ndarray, tables: Tables) -> bytes:
    """The stream of `symbols` uint8 `[row, column]`, column c under table `table_of_column[c]`."""
    coder = constriction.stream.stack.AnsCoder()
    for table in reversed(range(len(tables.frequencies))):
        columns = symbols[:, table_of_column == table]
        if columns.size:
            coder.encode_reverse(columns.astype(np.int32).ravel(), _model(tables, table))
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def decode(stream: np.ndarray, num_rows: int, table_of_column: np.ndarray, tables: Tables) -> np.ndarray:
    """The symbols, uint8 `[num_rows, column]`. Raises CorruptFrame when `stream` does not end with them."""
    if stream.size % 4:
        raise CorruptFrame(f"a stream of {stream.size} bytes is not made of 4-byte words")
    try:
        coder = constriction.stream.stack.AnsCoder(stream.view("<u4").astype(np.uint32))
    except ValueError as error:
        raise CorruptFrame(f"not an ANS stream: {error}") from error
    symbols = np.empty((num_rows, len(table_of_column)), np.uint8)
    for table in range(len(tables.frequencies)):
        columns = np.flatnonzero(table_of_column == table)
        if columns.size and num_rows:
            decoded = coder.decode(_model(tables, table), num_rows * columns.size)
            symbols[:, columns] = decoded.reshape(num_rows, columns.size)
    if not coder.is_empty():
        raise CorruptFrame("an ANS stream holds more than its symbols")
    return symbols


def _model(tables: Tables, table: int) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(tables.frequencies[table] / _TOTAL, perfect=False)
