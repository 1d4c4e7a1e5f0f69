"""Tables: the 12-bit symbol frequencies that the rANS coder codes under, fitted and checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

TABLE_BITS = 12
NUM_SLOTS = 1 << TABLE_BITS
MAX_SYMBOLS, MAX_TABLES = 256, 1 << 16
_RECIPROCAL_BITS = 44


@dataclass(frozen=True, eq=False)
class Tables:
    """Frequencies of one alphabet's symbols under several distributions.

    `frequencies` is uint16 `[table, symbol]`: 1 to 256 symbols, each at least 1, every table summing to 4096.
    Raises ValueError when it is anything else. The arrays derived from it are computed once, on first use,
    and are safe to share between threads; 16 KiB a table for decoding, 5 KiB for encoding.
    """

    frequencies: np.ndarray

    def __post_init__(self) -> None:
        given = self.frequencies
        if given.dtype != np.uint16 or given.ndim != 2:
            raise ValueError(f"frequencies must be uint16 [table, symbol], got {given.dtype} {given.shape}")
        if not (1 <= given.shape[0] <= MAX_TABLES and 1 <= given.shape[1] <= MAX_SYMBOLS):
            raise ValueError(f"{given.shape} is not 1 to {MAX_TABLES} tables of 1 to {MAX_SYMBOLS} symbols")
        frequencies = given.copy()  # nobody may change it once it is checked
        if frequencies.min() < 1 or np.any(frequencies.sum(axis=1, dtype=np.int64) != NUM_SLOTS):
            raise ValueError(f"every symbol needs a frequency of at least 1, every table a sum of {NUM_SLOTS}")
        frequencies.flags.writeable = False
        object.__setattr__(self, "frequencies", frequencies)

    @property
    def num_tables(self) -> int:
        return int(self.frequencies.shape[0])

    @property
    def num_symbols(self) -> int:
        """Size of the alphabet."""
        return int(self.frequencies.shape[1])

    @cached_property
    def starts(self) -> np.ndarray:
        """First slot of each symbol, uint32 `[table, symbol]`: symbol s owns slots [start, start + frequency)."""
        frequencies = self.frequencies.astype(np.uint32)
        return np.cumsum(frequencies, axis=1, dtype=np.uint32) - frequencies

    @cached_property
    def slots(self) -> np.ndarray:
        """What a decoder needs of each slot, uint32 `[table, 4096]`.

        Bits 0-7: the symbol; bits 8-19: its frequency less 1; bits 20-31: the slot less the symbol's start.
        """
        by_symbol = np.arange(self.num_symbols, dtype=np.uint32) | (self.frequencies.astype(np.uint32) - 1) << 8
        slots = np.empty((self.num_tables, NUM_SLOTS), np.uint32)
        for row, packed, starts, frequencies in zip(slots, by_symbol, self.starts, self.frequencies, strict=True):
            row[:] = np.repeat(packed, frequencies)
            row |= (np.arange(NUM_SLOTS, dtype=np.uint32) - np.repeat(starts, frequencies)) << 20
        return slots

    @cached_property
    def spans(self) -> np.ndarray:
        """What an encoder that divides needs of each symbol, uint32 `[table, 256]`: frequency | start << 16."""
        spans = np.ones((self.num_tables, MAX_SYMBOLS), np.uint32)
        spans[:, : self.num_symbols] = self.frequencies | self.starts << 16
        return spans

    @cached_property
    def divisors(self) -> np.ndarray:
        """What an encoder needs of each symbol, uint64 `[table, symbol, 2]`.

        First a reciprocal m of the frequency f: state * m >> 44 is state // f for every state below f << 20,
        and the product stays below 2**64 (m f exceeds 2**44 by e in [1, f], and state * e < 2**44).
        Then the frequency, with the start from bit 32 on.
        """
        divisors = np.zeros((self.num_tables, MAX_SYMBOLS, 2), np.uint64)
        frequencies = self.frequencies.astype(np.uint64)
        divisors[:, : self.num_symbols, 0] = (1 << _RECIPROCAL_BITS) // frequencies + 1
        divisors[:, : self.num_symbols, 1] = frequencies | self.starts.astype(np.uint64) << 32
        return divisors


def fit_tables(counts: np.ndarray) -> Tables:
    """Tables whose frequencies follow `counts` `[table, symbol]` (or any finite weights, at least 0).

    Every symbol stays codable: one that was never counted gets frequency 1. A table without any counts is
    flat. The frequencies are those of the method of Webster: where 4096 cannot be shared exactly, the next
    slot goes where count / (frequency + 1/2) is largest, which is to second order where it saves most bits.
    Deterministic on every machine: only sums, products and quotients of float64.
    Raises ValueError when `counts` has another shape, or a weight that is negative or not finite.
    """
    weights = np.array(counts, np.float64)
    if weights.ndim != 2 or not 1 <= weights.shape[1] <= MAX_SYMBOLS or not 1 <= weights.shape[0] <= MAX_TABLES:
        raise ValueError(f"counts must be [table, symbol] with at most {MAX_SYMBOLS} symbols, got {weights.shape}")
    if not np.all(np.isfinite(weights)) or weights.min() < 0:
        raise ValueError("counts must be finite and at least 0")
    weights[weights.max(axis=1) == 0] = 1
    weights /= weights.max(axis=1, keepdims=True)
    shares = weights * (NUM_SLOTS / weights.sum(axis=1, keepdims=True))
    frequencies = np.maximum(np.floor(shares).astype(np.int64), 1)
    _share_out(weights, frequencies)
    return Tables(frequencies.astype(np.uint16))


def _share_out(weights: np.ndarray, frequencies: np.ndarray) -> None:
    """Moves every row of `frequencies` one slot at a time to a sum of 4096, in place."""
    missing = NUM_SLOTS - frequencies.sum(axis=1)
    while (rows := np.flatnonzero(missing > 0)).size:
        frequencies[rows, np.argmax(weights[rows] / (frequencies[rows] + 0.5), axis=1)] += 1
        missing[rows] -= 1
    while (rows := np.flatnonzero(missing < 0)).size:
        cost = np.where(frequencies[rows] > 1, weights[rows] / (frequencies[rows] - 0.5), np.inf)
        frequencies[rows, np.argmin(cost, axis=1)] -= 1
        missing[rows] += 1
