"""The loops of `lossless`, compiled by numba on first use. They trust their arguments: `codec.lossless` checks.

`keys` and `values` are the bits of floats, uint16 or uint32 words `[kv_head, token, dim]`, strided as they come.
Channels are the keys' `[kv_head, dim]`, then the values'. A token's words are gathered into one line, so that
what is done with them vectorises, and nothing larger is ever held. Every other array is C-contiguous.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_BLOCK = 32


@njit(cache=True, nogil=True, error_model="numpy")
def moments(keys: np.ndarray, values: np.ndarray, up: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Means and mean squares, float32 `[channel]`. Words times 2**`up`, as float32 times `scale`, are the numbers."""
    num_tokens, num_channels = keys.shape[1], keys.shape[0] * (keys.shape[2] + values.shape[2])
    sums, squares = np.zeros(num_channels, np.float32), np.zeros(num_channels, np.float32)
    line, bits = np.empty(num_channels, keys.dtype), np.empty(num_channels, np.uint32)
    numbers = bits.view(np.float32)
    magnitude_bits = np.uint32(8 * keys.itemsize - 1)
    mask, factor = np.uint32((1 << magnitude_bits) - 1), np.float32(scale)
    for token in range(num_tokens):
        _gather(keys, token, line, 0)
        _gather(values, token, line, keys.shape[0] * keys.shape[2])
        for channel in range(num_channels):
            word = np.uint32(line[channel])
            sign = np.uint32(np.uint32(word >> magnitude_bits) << np.uint32(31))
            bits[channel] = np.uint32(np.uint32(word & mask) << np.uint32(up)) | sign
        for channel in range(num_channels):
            number = numbers[channel] * factor
            sums[channel] += number
            squares[channel] += number * number
    return sums / np.float32(num_tokens), squares / np.float32(num_tokens)


@njit(cache=True, nogil=True, error_model="numpy")
def split(
    keys: np.ndarray,
    values: np.ndarray,
    firsts: np.ndarray,
    negative: np.ndarray,
    low_bits: int,
    escape: int,
    symbols: np.ndarray,
    escapes: np.ndarray,
    low: np.ndarray,
    nibbles: np.ndarray,
) -> int:
    """Takes words apart; returns how many of `symbols`, uint8 `[token, channel]`, are `escape`.

    The bits above `low_bits` are the sign and, below it, the cell. Symbol 0 of a channel is cell `firsts`
    (int32) with the sign `negative` (uint8), symbol 1 the same with the other sign. Sign and cell of what
    escapes go into uint16 `escapes`, which has room for all; the low bits into uint8 `low`
    `[byte, token, channel]` and above it `nibbles` `[token, pair]`, either of which may be empty.
    """
    shift, sign_shift = np.uint32(low_bits), np.uint32(8 * keys.itemsize - 1 - low_bits)
    cell_mask, limit = np.uint32((1 << sign_shift) - 1), np.uint32(escape >> 1)
    line, half = np.empty(symbols.shape[1], keys.dtype), nibbles.shape[1]
    at, fifteen = np.uint32(8 * low.shape[0]), np.uint32(15)
    num_escapes = 0
    for token in range(symbols.shape[0]):
        _gather(keys, token, line, 0)
        _gather(values, token, line, keys.shape[0] * keys.shape[2])
        row = symbols[token]
        for channel in range(line.size):
            leading = np.uint32(np.uint32(line[channel]) >> shift)
            sign = np.uint32(np.uint32(leading >> sign_shift) ^ np.uint32(negative[channel]))
            cell = min(np.uint32(np.uint32(leading & cell_mask) - np.uint32(firsts[channel])), limit)
            row[channel] = min(np.uint32(np.uint32(cell << np.uint32(1)) | sign), np.uint32(escape))
        if _largest(row) == escape:
            for channel in range(row.size):
                if row[channel] == escape:
                    escapes[num_escapes] = np.uint32(line[channel]) >> shift
                    num_escapes += 1
        for byte in range(low.shape[0]):
            plane, byte_shift = low[byte, token], np.uint32(8 * byte)
            for channel in range(plane.size):
                plane[channel] = np.uint32(line[channel]) >> byte_shift
        pairs, near, far = nibbles[token], line[:half], line[line.size - line.size // 2 :]
        for pair in range(half):
            pairs[pair] = np.uint32(np.uint32(near[pair]) >> at) & fifteen
        for pair in range(min(half, far.size)):
            pairs[pair] |= np.uint8(np.uint32(np.uint32(np.uint32(far[pair]) >> at) & fifteen) << np.uint32(4))
    return num_escapes


@njit(cache=True, nogil=True, error_model="numpy")
def join(
    symbols: np.ndarray,
    firsts: np.ndarray,
    negative: np.ndarray,
    low_bits: int,
    escape: int,
    escapes: np.ndarray,
    low: np.ndarray,
    nibbles: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
) -> int:
    """Undoes `split`; returns how many symbols are `escape`, of which there may be more or fewer than `escapes`.

    All arithmetic is that of a word, and products stand where shifts would: so it vectorises as narrow as it is.
    """
    word = keys.dtype.type
    line, offsets = np.empty(symbols.shape[1], keys.dtype), np.empty(symbols.shape[1], keys.dtype)
    sign_shift, one, unit, half = word(8 * keys.itemsize - 1), word(1), word(1 << low_bits), nibbles.shape[1]
    for channel in range(offsets.size):
        offsets[channel] = word(word(firsts[channel]) * unit) ^ word(word(negative[channel]) << sign_shift)
    nibble_unit = word(1 << 8 * low.shape[0])
    num_escapes = 0
    for token in range(symbols.shape[0]):
        row = symbols[token]
        for channel in range(row.size):
            symbol = word(row[channel])
            magnitude = word(offsets[channel] + word(word(symbol >> one) * unit))
            line[channel] = word(magnitude ^ word(symbol << sign_shift))
        if _largest(row) == escape:
            for first in range(0, row.size, _BLOCK):
                if _largest(row[first : first + _BLOCK]) == escape:
                    for channel in range(first, min(first + _BLOCK, row.size)):
                        if row[channel] == escape:
                            if num_escapes < escapes.size:
                                line[channel] = word(word(escapes[num_escapes]) * unit)
                            num_escapes += 1
        for byte in range(low.shape[0]):
            plane, byte_unit = low[byte, token], word(1 << 8 * byte)
            for channel in range(plane.size):
                line[channel] |= word(word(plane[channel]) * byte_unit)
        pairs, near, far = nibbles[token], line[:half], line[line.size - line.size // 2 :]
        for pair in range(half):
            near[pair] |= word(word(pairs[pair] & np.uint8(15)) * nibble_unit)
        for pair in range(min(half, far.size)):
            far[pair] |= word(word(pairs[pair] >> np.uint8(4)) * nibble_unit)
        _scatter(line, 0, keys, token)
        _scatter(line, keys.shape[0] * keys.shape[2], values, token)
    return num_escapes


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(tensor: np.ndarray, token: int, line: np.ndarray, start: int) -> None:
    for head in range(tensor.shape[0]):
        given, part = tensor[head, token], line[start + head * tensor.shape[2] :]
        for dim in range(given.size):
            part[dim] = given[dim]


@njit(cache=True, nogil=True, error_model="numpy")
def _scatter(line: np.ndarray, start: int, tensor: np.ndarray, token: int) -> None:
    for head in range(tensor.shape[0]):
        part, out = line[start + head * tensor.shape[2] :], tensor[head, token]
        for dim in range(out.size):
            out[dim] = part[dim]


@njit(cache=True, nogil=True, error_model="numpy")
def _largest(symbols: np.ndarray) -> np.uint8:
    largest = np.uint8(0)
    for symbol in symbols:
        largest = max(largest, symbol)
    return largest
