"""The loops that encode, compiled by numba on first use. They trust their arguments: `codec.rans` checks.

As decoding does in `codec.rans_kernels`, encoding comes twice: symbol by symbol, and in the steps of
`codec.rans_avx2`. Symbols go from the last to the first, and words fill their array from the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from codec import avx2
from codec.rans_avx2 import PACK, encode_8
from codec.rans_kernels import COLUMNS_READ_AHEAD, gather_starts
from codec.rans_tables import Tables


@njit(cache=True, nogil=True, error_model="numpy")
def _encode_symbols(
    symbols: np.ndarray,
    starts: np.ndarray,
    class_of_row: np.ndarray,
    divisors: np.ndarray,
    states: np.ndarray,
    words: np.ndarray,
    begin: int = 0,
) -> np.uint64:
    """Codes symbols [begin, symbols.size), last one first; returns where their words begin."""
    last_lane = np.uint64(states.size - 1)
    first = np.uint64(words.size)
    width, flat = np.uint64(starts.shape[1]), starts.ravel()
    num_columns = width - np.uint64(COLUMNS_READ_AHEAD)
    row, column, row_starts = class_of_row.size, np.uint64(0), np.uint64(0)
    for position in range(symbols.size - 1, np.int64(begin) - 1, -1):
        if column == 0:
            row -= 1
            column, row_starts = num_columns, np.uint64(class_of_row[row]) * width
        column -= np.uint64(1)
        entry = (np.uint64(flat[row_starts + column]) + np.uint64(symbols[position])) << np.uint64(1)
        reciprocal, packed = divisors[entry], divisors[entry + np.uint64(1)]
        frequency, start = packed & np.uint64(0xFFFF), packed >> np.uint64(32)
        lane = np.uint64(position) & last_lane
        state = np.uint64(states[lane])
        words[first - np.uint64(1)] = state
        full = (state >> np.uint64(20)) >= frequency
        first -= np.uint64(full)
        state >>= np.uint64(full) << np.uint64(4)
        quotient = (state * reciprocal) >> np.uint64(44)
        states[lane] = quotient * (np.uint64(4096) - frequency) + state + start
    return first


@njit(cache=True, nogil=True, error_model="numpy")
def _begin_of_run(class_of_row: np.ndarray, row: np.uint64) -> np.uint64:
    """The first of the rows up to `row` that are all of its class."""
    while row and class_of_row[row - np.uint64(1)] == class_of_row[row]:
        row -= np.uint64(1)
    return row


@njit(cache=True, nogil=True, error_model="numpy")
def _encode_blocks(
    symbols: np.ndarray,
    starts: np.ndarray,
    class_of_row: np.ndarray,
    divisors: np.ndarray,
    spans: np.ndarray,
    states: np.ndarray,
    words: np.ndarray,
) -> Any:
    """`_encode_symbols` for those that are no whole eight, which come last, then eight at a time for the others.

    Goes from run to run of rows of one class, as decoding does, with the same `seam` where eight reach over both.
    A step stores eight words, those it does not need too. There is room: no symbol takes more than one.
    """
    last_lane, seven, eight = np.uint64(states.size - 1), np.uint64(7), np.uint64(8)
    width = np.uint64(starts.shape[1])
    num_columns = width - np.uint64(COLUMNS_READ_AHEAD)
    step, flat = eight % num_columns, starts.ravel()
    seam = np.empty(8, np.uint32)
    position = np.uint64(symbols.size) & ~seven
    word = _encode_symbols(symbols, starts, class_of_row, divisors, states, words, position)
    while position:
        row = (position - np.uint64(1)) // num_columns
        run_begin = _begin_of_run(class_of_row, row) * num_columns
        inside = (run_begin + seven) & ~seven
        if inside > run_begin:
            gather_starts(starts, class_of_row, inside - eight, seam)
        first, column = np.uint64(class_of_row[row]) * width, position % num_columns
        while position > inside:
            position -= eight
            column = column - step if column >= step else column + num_columns - step
            lane = position & last_lane
            word -= encode_8(states, words, flat, spans, PACK, symbols, lane, word, first + column, position)
        if inside > run_begin:
            position -= eight
            lane = position & last_lane
            word -= encode_8(states, words, seam, spans, PACK, symbols, lane, word, np.uint64(0), position)
    return word


def encode(
    symbols: np.ndarray,
    starts: np.ndarray,
    class_of_row: np.ndarray,
    tables: Tables,
    states: np.ndarray,
    words: np.ndarray,
) -> int:
    """Codes flat uint8 `symbols`, at least one, into the end of uint16 `words`; returns where the stream begins.

    `words` are as many as symbols. `starts` as `table_starts` makes them for tables of `MAX_SYMBOLS`;
    `class_of_row` int64 `[row]`. Leaves the lanes' final states in uint32 `states`.
    """
    divisors = tables.divisors.ravel()
    if avx2.HAS_AVX2:
        first = _encode_blocks(symbols, starts, class_of_row, divisors, tables.spans.ravel(), states, words)
    else:
        first = _encode_symbols(symbols, starts, class_of_row, divisors, states, words)
    return int(first)
