"""Content-defined cuts: where to cut a run of tokens so that the same text is cut at the same places wherever it is.

A cut comes behind every token at which a hash of the last few tokens is a multiple of the length wanted (as in LBFS,
SOSP 2001, section 3.1, on tokens instead of bytes). What stands further off has no say in it, so texts that share a
passage share its cuts, from a few tokens into it on, at whatever offsets. Parts are kept within limits by dropping
cuts that come too early and adding one where none comes for long.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SEEN = 8  # tokens that a cut depends on
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
LEAST, WANTED, MOST = 64, 128, 512


def content_defined(token_ids: Sequence[int], start: int = 0) -> list[tuple[int, int]]:
    """The parts `[begin, end)` of the tokens from `start` on, of `LEAST` to `MOST` tokens each.

    What is left at the end is none of them, as the next token may belong to it.
    """
    parts, begin = [], start
    for cut in (*_candidates(np.asarray(token_ids, np.uint64)), len(token_ids) + LEAST):
        while min(cut, len(token_ids)) - begin >= MOST:
            parts.append((begin, begin + MOST))
            begin += MOST
        if cut - begin >= LEAST and cut <= len(token_ids):
            parts.append((begin, cut))
            begin = cut
    return parts


def _candidates(tokens: np.ndarray) -> list[int]:
    """Where a cut may come, ascending: behind these many tokens."""
    if len(tokens) < _SEEN:
        return []
    hashes = np.zeros(len(tokens) - _SEEN + 1, np.uint64)
    for place in range(_SEEN):
        hashes = (hashes + tokens[place : place + len(hashes)] + np.uint64(1)) * _MULTIPLIER
    chosen = (hashes >> np.uint64(32)) % np.uint64(WANTED) == 0
    return [int(place) + _SEEN for place in np.flatnonzero(chosen)]
