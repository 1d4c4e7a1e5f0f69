"""The loops of the rANS coder, compiled by numba on first use. They trust their arguments: `codec.rans` checks.

Here are those that decode, and what `codec.rans_encode_kernels` shares with them. Decoding comes twice:
`_decode_symbols` is the portable loop, one symbol at a time; where the processor has AVX2, `_decode_blocks` takes
the steps of `codec.rans_avx2`, eight lanes at once.

Neither reads outside of its arrays whatever the stream holds: the slot index is masked, `words` is followed
by `WORDS_READ_AHEAD` spare ones, and reading stops once the stream is overrun.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from codec import avx2
from codec.rans_avx2 import SPREAD, decode_8

WORDS_READ_AHEAD = COLUMNS_READ_AHEAD = 8


@njit(cache=True, nogil=True, error_model="numpy")
def all_below(values: np.ndarray, bound: int) -> bool:
    """Whether every one of flat int64 `values` is in [0, bound)."""
    inside = True
    for value in values:
        inside &= (value >= 0) & (value < bound)
    return inside


@njit(cache=True, nogil=True, error_model="numpy")
def table_starts(table_of_column: np.ndarray, table_size: int) -> np.ndarray:
    """Where tables of `table_size` begin, uint32 `[class, column + COLUMNS_READ_AHEAD]`.

    From integers `table_of_column` `[class, column]`; goes round after the last column, and means nothing without one.
    """
    num_classes, num_columns = table_of_column.shape
    starts = np.empty((num_classes, num_columns + COLUMNS_READ_AHEAD), np.uint32)
    for row_class in range(num_classes):
        for column in range(num_columns):
            starts[row_class, column] = table_of_column[row_class, column] * table_size
        for column in range(num_columns, num_columns + COLUMNS_READ_AHEAD):
            starts[row_class, column] = starts[row_class, column - num_columns]
    return starts


@njit(cache=True, nogil=True, error_model="numpy")
def _decode_1(
    states: np.ndarray,
    lane: int,
    words: np.ndarray,
    word: int,
    start: int,
    slots: np.ndarray,
    out: np.ndarray,
    position: int,
) -> np.uint64:
    """Decodes one symbol of one lane, under the table that begins at `start`; returns how many words it took."""
    state = states[lane]
    slot = slots[np.uint64(start) + np.uint64(state & np.uint32(4095))]
    out[position] = np.uint8(slot)
    frequency = ((slot >> np.uint32(8)) & np.uint32(4095)) + np.uint32(1)
    state = np.uint32(frequency * (state >> np.uint32(12)) + (slot >> np.uint32(20)))
    short = state < np.uint32(1 << 16)
    refilled = np.uint32(np.uint32(state << np.uint32(16)) | np.uint32(words[word]))
    states[lane] = refilled if short else state
    return np.uint64(short)


@njit(cache=True, nogil=True, error_model="numpy")
def _decode_symbols(
    words: np.ndarray,
    states: np.ndarray,
    starts: np.ndarray,
    class_of_row: np.ndarray,
    slots: np.ndarray,
    out: np.ndarray,
    begin: int = 0,
    word: int = 0,
) -> np.uint64:
    """Decodes symbols [begin, out.size), the first of them with the words from `word` on; returns words read."""
    last_lane, one = np.uint64(states.size - 1), np.uint64(1)
    num_words = np.uint64(words.size - WORDS_READ_AHEAD)
    num_columns = np.uint64(starts.shape[1] - COLUMNS_READ_AHEAD)
    column, next_word, position = np.uint64(begin) % num_columns, np.uint64(word), np.uint64(begin)
    for row in range(np.uint64(begin) // num_columns, np.uint64(class_of_row.size)):
        row_class = class_of_row[row]
        while column < num_columns:
            if next_word > num_words:
                return next_word
            next_word += _decode_1(
                states, position & last_lane, words, next_word, starts[row_class, column], slots, out, position
            )
            position += one
            column += one
        column = np.uint64(0)
    return next_word


@njit(cache=True, nogil=True, error_model="numpy")
def gather_starts(starts: np.ndarray, class_of_row: np.ndarray, position: int, eight: np.ndarray) -> None:
    """Where the tables of the symbols from `position` on begin, into uint32 `eight`; across rows of any class."""
    num_columns = np.uint64(starts.shape[1] - COLUMNS_READ_AHEAD)
    row, column = position // num_columns, position % num_columns
    for i in range(eight.size):
        eight[i] = starts[class_of_row[row], column]
        column += np.uint64(1)
        if column == num_columns:
            row, column = row + np.uint64(1), np.uint64(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _end_of_run(class_of_row: np.ndarray, row: np.uint64) -> np.uint64:
    """The first row after `row` that is of another class, or the number of rows."""
    end = row + np.uint64(1)
    while end < np.uint64(class_of_row.size) and class_of_row[end] == class_of_row[row]:
        end += np.uint64(1)
    return end


@njit(cache=True, nogil=True, error_model="numpy")
def _decode_blocks(
    words: np.ndarray,
    states: np.ndarray,
    starts: np.ndarray,
    class_of_row: np.ndarray,
    slots: np.ndarray,
    out: np.ndarray,
) -> Any:
    """`_decode_symbols` for all of them, eight at a time as far as there are eight.

    Goes from run to run of rows of one class. The eight symbols that reach over a run's end get their tables'
    starts from `seam`, filled before the run, because a vector loaded right after its parts are stored stalls.
    """
    last_lane, eight = np.uint64(states.size - 1), np.uint64(8)
    num_words = np.uint64(words.size - WORDS_READ_AHEAD)
    width = np.uint64(starts.shape[1])
    num_columns = width - np.uint64(COLUMNS_READ_AHEAD)
    step, flat = eight % num_columns, starts.ravel()
    seam = np.empty(8, np.uint32)
    end = np.uint64(out.size) & ~np.uint64(7)
    word = position = np.uint64(0)
    while position < end:
        row, column = position // num_columns, position % num_columns
        first = np.uint64(class_of_row[row]) * width
        run_end = _end_of_run(class_of_row, row) * num_columns
        inside = run_end & ~np.uint64(7)
        if inside < end:
            gather_starts(starts, class_of_row, inside, seam)
        for block in range(position, inside, eight):
            if word > num_words:
                return word
            lane = block & last_lane
            word += decode_8(states, words, flat, slots, SPREAD, out, lane, word, first + column, block)
            column += step
            if column >= num_columns:
                column -= num_columns
        position = inside
        if inside < run_end and inside < end:
            if word > num_words:
                return word
            lane = inside & last_lane
            word += decode_8(states, words, seam, slots, SPREAD, out, lane, word, np.uint64(0), inside)
            position += eight
    return _decode_symbols(words, states, starts, class_of_row, slots, out, end, word)


def decode(
    words: np.ndarray,
    states: np.ndarray,
    starts: np.ndarray,
    class_of_row: np.ndarray,
    slots: np.ndarray,
    out: np.ndarray,
) -> int:
    """Decodes flat uint8 `out`, at least one symbol; returns the words read, or more than there are if too few.

    `words` uint16, `WORDS_READ_AHEAD` longer than the stream's; `states` uint32 `[lane]`, left as they end;
    `starts` as `table_starts` makes them, for `slots`, flat uint32 as `Tables.slots`; `class_of_row` int64 `[row]`.
    """
    if avx2.HAS_AVX2:
        read: np.uint64 = _decode_blocks(words, states, starts, class_of_row, slots, out)
    else:
        read = _decode_symbols(words, states, starts, class_of_row, slots, out)
    return int(read)


decode_in_kernel = _decode_blocks if avx2.HAS_AVX2 else _decode_symbols
"""`decode` for other compiled loops to call."""
