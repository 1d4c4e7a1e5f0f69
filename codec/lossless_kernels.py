"""The loops of `lossless`, compiled by numba on first use. They trust their arguments: `codec.lossless` checks.

A head is the upper 16 bits of a float's word, all of them under bfloat16 and float16. A cell is `unit` heads
wide. Origins, uint16 `[channel]`, hold the magnitude where a channel's cell 0 begins, and the sign that even
symbols stand for; magnitudes are counted modulo 2^15, so that every origin will do. Arrays are C-contiguous.

Units come as arguments, and products stand where shifts would: the compiler then keeps to the narrow words it
was given, and vectorises as wide as they allow.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from codec.float_channels import unpack
from codec.rans import INITIAL_STATE
from codec.rans_kernels import WORDS_READ_AHEAD, decode_in_kernel, table_starts
from codec.rans_tables import NUM_SLOTS

SIGN = np.uint16(1 << 15)
MAGNITUDE = np.uint16(SIGN - 1)
_HALF_WORD = np.uint32(1 << 16)
_BLOCK = 32

WHOLE, UNEVEN, OTHER_ESCAPES = range(3)
"""What `decode` finds."""


@njit(cache=True, nogil=True, error_model="numpy")
def halves(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heads and what is below them, uint16 each, of uint32 `words` `[token, channel]`."""
    heads, lower = np.empty(words.shape, np.uint16), np.empty(words.shape, np.uint16)
    for token in range(words.shape[0]):
        for channel in range(words.shape[1]):
            heads[token, channel] = np.uint32(words[token, channel] >> np.uint32(16))
            lower[token, channel] = words[token, channel]
    return heads, lower


@njit(cache=True, nogil=True, error_model="numpy")
def whole(heads: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Undoes `halves`."""
    words = np.empty(heads.shape, np.uint32)
    for token in range(heads.shape[0]):
        for channel in range(heads.shape[1]):
            words[token, channel] = np.uint32(np.uint32(heads[token, channel]) * _HALF_WORD) | lower[token, channel]
    return words


@njit(cache=True, nogil=True, error_model="numpy")
def moments(heads: np.ndarray, unit: np.uint32, scale: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Means and mean squares, float32 `[channel]`, of uint16 `heads` `[token, channel]`.

    Of `scale` times the numbers whose float32 bits are a head's magnitude times `unit`, with its sign.
    """
    sums, squares = np.zeros(heads.shape[1], np.float32), np.zeros(heads.shape[1], np.float32)
    bits = np.empty(heads.shape[1], np.uint32)
    numbers = bits.view(np.float32)
    for token in range(heads.shape[0]):
        for channel in range(bits.size):
            head = heads[token, channel]
            sign = np.uint32(np.uint32(head & SIGN) * _HALF_WORD)
            bits[channel] = np.uint32(np.uint32(head & MAGNITUDE) * unit) | sign
        for channel in range(bits.size):
            number = numbers[channel] * scale
            sums[channel] += number
            squares[channel] += number * number
    num_tokens = np.float32(heads.shape[0])
    return sums / num_tokens, squares / num_tokens


@njit(cache=True, nogil=True, error_model="numpy")
def split(heads: np.ndarray, origins: np.ndarray, unit: np.uint16, escape: np.uint8) -> np.ndarray:
    """The symbols, uint8 as uint16 `heads` `[token, channel]`; the last symbol, `escape`, for what has none."""
    symbols = np.empty(heads.shape, np.uint8)
    outside = np.uint16(np.uint16(escape >> np.uint8(1)) * unit)
    doubled = np.uint32(2 * 65536 // unit)
    for token in range(heads.shape[0]):
        for channel in range(heads.shape[1]):
            head, origin = heads[token, channel], origins[channel]
            distance = min(np.uint16(np.uint16(head - origin) & MAGNITUDE), outside)
            cell = np.uint16(np.uint32(np.uint32(distance) * doubled) >> np.uint32(16)) & np.uint16(254)
            other_sign = np.uint16(np.uint16(head ^ origin) >> np.uint16(15))
            symbols[token, channel] = min(np.uint16(cell | other_sign), np.uint16(escape))
    return symbols


@njit(cache=True, nogil=True, error_model="numpy")
def _join(symbols: np.ndarray, origins: np.ndarray, unit: np.uint16, heads: np.ndarray) -> None:
    """Undoes `split`: the lowest of each cell's heads, anything where a symbol is an escape."""
    for token in range(symbols.shape[0]):
        for channel in range(symbols.shape[1]):
            symbol, origin = np.uint16(symbols[token, channel]), origins[channel]
            magnitude = np.uint16(origin + np.uint16(np.uint16(symbol >> np.uint16(1)) * unit)) & MAGNITUDE
            heads[token, channel] = magnitude | (np.uint16(origin ^ np.uint16(symbol * SIGN)) & SIGN)


@njit(cache=True, nogil=True, error_model="numpy")
def escaped(symbols: np.ndarray, escape: np.uint8, most: int) -> np.ndarray:
    """Where in flat uint8 `symbols` `[token, channel]`, none above `escape`, it stands: int64, the first `most`."""
    places, found, num_channels = np.empty(most, np.int64), 0, symbols.shape[1]
    for token in range(symbols.shape[0]):
        largest = np.uint8(0)
        for channel in range(num_channels):
            largest = max(largest, symbols[token, channel])
        if largest == escape:
            for begin in range(0, num_channels, _BLOCK):
                end = min(begin + _BLOCK, num_channels)
                largest = np.uint8(0)
                for channel in range(begin, end):
                    largest = max(largest, symbols[token, channel])
                if largest == escape:
                    for channel in range(begin, end):
                        if symbols[token, channel] == escape and found < most:
                            places[found] = token * num_channels + channel
                            found += 1
    return places[:found]


@njit(cache=True, nogil=True, error_model="numpy")
def take_nibbles(heads: np.ndarray) -> np.ndarray:
    """The lowest nibble of every head, uint8 `[token, pair]`: pairs as in `codec.float_channels`."""
    num_far = np.uint64(heads.shape[1] // 2)
    num_near = np.uint64(heads.shape[1]) - num_far
    nibbles = np.zeros((heads.shape[0], num_near), np.uint8)
    for token in range(heads.shape[0]):
        for pair in range(num_far):
            nibbles[token, pair] = np.uint16(heads[token, num_near + pair] * np.uint16(16))
        for pair in range(num_near):
            nibbles[token, pair] |= np.uint8(heads[token, pair]) & np.uint8(15)
    return nibbles


@njit(cache=True, nogil=True, error_model="numpy")
def _put_nibbles(nibbles: np.ndarray, heads: np.ndarray) -> None:
    """Undoes `take_nibbles`, where `heads` have zeros."""
    num_far = np.uint64(heads.shape[1] // 2)
    num_near = np.uint64(heads.shape[1]) - num_far
    for token in range(heads.shape[0]):
        for pair in range(num_near):
            heads[token, pair] |= np.uint16(nibbles[token, pair] & np.uint8(15))
        for pair in range(num_far):
            heads[token, num_near + pair] |= np.uint16(nibbles[token, pair] >> np.uint8(4))


@njit(cache=True, nogil=True, error_model="numpy")
def _put_bytes(low: np.ndarray, heads: np.ndarray) -> None:
    for token in range(heads.shape[0]):
        for channel in range(heads.shape[1]):
            heads[token, channel] |= low[token, channel]


@njit(cache=True, nogil=True, error_model="numpy")
def origins_of(levels: np.ndarray, negative: np.ndarray, first_cell: int, unit: np.uint16) -> np.ndarray:
    """Origins of channels as `codec.float_channels` unpacks them, cell 0 being `first_cell` above the level's."""
    origins = np.empty(levels.size, np.uint16)
    for channel in range(levels.size):
        first = (np.int64(levels[channel]) + first_cell) * np.int64(unit)
        origins[channel] = np.uint16(np.uint16(first) & MAGNITUDE) | np.uint16(negative[channel] * SIGN)
    return origins


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(given: np.ndarray, start: int, out: np.ndarray, num_bytes: int) -> None:
    first = np.uint64(start)
    for byte in range(np.uint64(num_bytes)):
        out[byte] = given[first + byte]


@njit(cache=True, nogil=True, error_model="numpy")
def decode(
    leading: np.ndarray,
    escapes_start: int,
    stream_start: int,
    num_lanes: int,
    slots: np.ndarray,
    first_cell: int,
    unit: np.uint16,
    escape: np.uint8,
    low: np.ndarray,
    heads: np.ndarray,
) -> int:
    """Decodes uint16 `heads` `[token, channel]` of a section `leading`: `WHOLE`, or what is wrong with it.

    Its escapes begin at byte `escapes_start`, its stream's states at `stream_start`; `slots` are those of
    `codec.rans_tables`, `low` as `codec.lossless` stores it.
    """
    num_channels = heads.shape[1]
    levels, shapes, negative = unpack(leading[4:], num_channels)
    origins = origins_of(levels, negative, first_cell, unit)
    starts, class_of_row = table_starts(shapes.reshape(1, num_channels), NUM_SLOTS), np.zeros(heads.shape[0], np.int64)
    words_start = stream_start + 4 * num_lanes
    states, words = (
        np.empty(num_lanes, np.uint32),
        np.zeros((leading.size - words_start) // 2 + WORDS_READ_AHEAD, np.uint16),
    )
    _copy(leading, stream_start, states.view(np.uint8), 4 * num_lanes)
    _copy(leading, words_start, words.view(np.uint8), leading.size - words_start)
    symbols = np.empty(heads.shape, np.uint8)
    lowest = states.min()
    num_words = decode_in_kernel(words, states, starts, class_of_row, slots.ravel(), symbols.ravel())
    if (
        lowest < INITIAL_STATE
        or num_words != np.uint64(words.size - WORDS_READ_AHEAD)
        or np.any(states != INITIAL_STATE)
    ):
        return UNEVEN
    _join(symbols, origins, unit, heads)
    if unit == np.uint16(16):
        _put_nibbles(low, heads)
    else:
        _put_bytes(low, heads)
    escapes = np.empty((stream_start - 8 - escapes_start) // 2, np.uint16)
    _copy(leading, escapes_start, escapes.view(np.uint8), 2 * escapes.size)
    places = escaped(symbols, escape, escapes.size + 1)
    if places.size != escapes.size:
        return OTHER_ESCAPES
    for i in range(places.size):
        heads[places[i] // num_channels, places[i] % num_channels] = escapes[i]
    return WHOLE
