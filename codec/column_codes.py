"""Columns of multiples of a step to bytes and back, under the tables that each column picks.

One stream, little-endian:

    bytes        what
    4, 4, 4      u32: escapes far and near, bytes of the choices
    4 each       far escapes: float32 multiples
    1 each       near escapes: how far beyond the reach, 2 (|n| - REACH - 1) + (n < 0); 255 stands for a far one
    as stated    `codec.rans` stream of one row: every column's choice, under the table of its expectation
    to the end   `codec.rans` stream of the symbols of the columns that are not zero; none when all are

Escapes stand in the order of their symbols, row by row. Rows have classes (see `codec.emphasis`), which
both sides know. Columns with hardly a number other than zero, and none beyond ±1, are best sent as zero:
such a number costs more bits than the same loss anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from codec import rans
from codec.column_tables import ESCAPE, REACH, ColumnTables, shifted
from codec.errors import CorruptFrame

COUNTS = np.dtype("<u4")
FAR = 255
RAREST = 1 / 32
_CHOICE_LANES, _LANES = 8, 16  # streams are short: more lanes are faster, but cost more bytes


@dataclass(frozen=True)
class Columns:
    """Which columns are not all zero, ascending, the tables they are coded under, and their multiples of the
    step, float32 `[row, those columns]`."""

    coded: np.ndarray
    tables: np.ndarray
    multiples: np.ndarray


def pack(
    tables: ColumnTables, multiples: np.ndarray, classes: np.ndarray, expected: np.ndarray, rarest: float = RAREST
) -> np.ndarray:
    """The stream, uint8, of float32 `[row, column]`, rounded; of rows of `classes`, columns with `expected`.

    Columns are sent as zero when no more than the share `rarest` of their numbers is not, and none beyond ±1.
    """
    symbols = symbols_of(multiples)
    drop_rare(symbols, rarest)
    chosen = tables.choose(symbols, classes, expected)
    choices = rans.encode(chosen[None], expected, tables.sides, _CHOICE_LANES)
    coded = np.flatnonzero(chosen)
    kept, stream = np.ascontiguousarray(symbols[:, coded]), choices[:0]
    if coded.size:
        under = shifted(chosen[coded] - 1)
        stream = rans.encode(kept, under, tables.symbols, _LANES, class_of_row=classes)
    far, near = _escapes(multiples[:, coded][kept == ESCAPE])
    counts = np.array([far.size, near.size, choices.size], COUNTS)
    return np.concatenate([counts.view(np.uint8), far.view(np.uint8), near, choices, stream])


def unpack(tables: ColumnTables, packed: np.ndarray, classes: np.ndarray, expected: np.ndarray) -> Columns:
    """Raises CorruptFrame when the bytes are not what `pack` gives for so many rows and columns."""
    far, near, choices, stream = _parts(packed)
    chosen = rans.decode(choices, 1, expected, tables.sides)[0]
    coded = np.flatnonzero(chosen)
    table = chosen[coded] - 1
    if not coded.size:
        if stream.size or far.size or near.size:
            raise CorruptFrame("a stream of no symbols is not empty")
        return Columns(coded, table, np.empty((len(classes), 0), np.float32))
    symbols = rans.decode(stream, len(classes), shifted(table), tables.symbols, class_of_row=classes)
    multiples = np.empty(symbols.shape, np.float32)
    if integers(symbols, _escaped(far, near), multiples) != near.size:
        raise CorruptFrame("the escapes are not those that the symbols speak of")
    return Columns(coded, table, multiples)


@njit(cache=True, nogil=True)
def symbols_of(multiples: np.ndarray) -> np.ndarray:
    """The nearest integers of float32 `[row, column]` as symbols, uint8."""
    symbols: np.ndarray = np.empty(multiples.shape, np.uint8)
    for row in range(symbols.shape[0]):
        for column in range(symbols.shape[1]):
            nearest = np.rint(multiples[row, column])
            within = abs(nearest) <= np.float32(REACH)
            symbols[row, column] = np.uint8(np.int32(nearest if within else np.float32(REACH + 1)) + np.int32(REACH))
    return symbols


@njit(cache=True, nogil=True)
def drop_rare(symbols: np.ndarray, rarest: float) -> None:
    """Makes columns of `[row, column]` zero of which at most that share is not, and nothing beyond ±1."""
    others, beyond = np.zeros(symbols.shape[1], np.int32), np.zeros(symbols.shape[1], np.int32)
    for row in range(symbols.shape[0]):
        for column in range(symbols.shape[1]):
            distance = abs(np.int32(symbols[row, column]) - np.int32(REACH))
            others[column] += np.int32(distance != 0)
            beyond[column] += np.int32(distance > 1)
    for column in range(symbols.shape[1]):
        if others[column] and not beyond[column] and others[column] <= rarest * symbols.shape[0]:
            symbols[:, column] = REACH


def _escapes(multiples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Far and near escapes as they are stored."""
    beyond = np.abs(np.rint(multiples)) - np.float32(REACH + 1)
    is_near = beyond < FAR // 2
    near = np.full(multiples.size, FAR, np.uint8)
    near[is_near] = 2 * beyond[is_near] + (multiples[is_near] < 0)
    return multiples[~is_near].astype("<f4"), near


def _escaped(far: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The numbers that `_escapes` stored so, float32. Raises CorruptFrame when these are none."""
    if np.count_nonzero(near == FAR) != far.size:
        raise CorruptFrame("the escapes are not those that the symbols speak of")
    if not np.isfinite(far).all():
        raise CorruptFrame("an escape is not a finite number")
    sign = 1 - 2 * (near & 1).astype(np.float32)
    numbers: np.ndarray = sign * ((near >> 1) + np.float32(REACH + 1))
    numbers[near == FAR] = far
    return numbers


@njit(cache=True, nogil=True)
def integers(symbols: np.ndarray, escaped: np.ndarray, out: np.ndarray) -> int:
    """Float32 `out` of uint8 `symbols`, same shape, escapes being `escaped` in turn; returns how many there are."""
    num_escapes = 0
    for row in range(symbols.shape[0]):
        escapes = 0
        for column in range(symbols.shape[1]):
            symbol = symbols[row, column]
            out[row, column] = np.float32(np.int32(symbol) - np.int32(REACH))
            escapes += symbol == ESCAPE
        for column in range(symbols.shape[1] if escapes else 0):
            if symbols[row, column] == ESCAPE:
                if num_escapes < escaped.size:
                    out[row, column] = escaped[num_escapes]
                num_escapes += 1
    return num_escapes


def _parts(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Far escapes float32, near escapes, choices and symbols, the last three uint8."""
    start = 3 * COUNTS.itemsize
    if packed.size < start:
        raise CorruptFrame(f"{packed.size} bytes are too few for columns")
    far, near, choices = (int(count) for count in packed[:start].view(COUNTS))
    ends = np.cumsum([start, 4 * far, near, choices])
    if ends[-1] > packed.size:
        raise CorruptFrame("the escapes and choices of columns are longer than all of them")
    parts = np.split(packed, ends)
    return parts[1].view("<f4"), parts[2], parts[3], parts[4]
