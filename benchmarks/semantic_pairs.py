"""Pairs of questions that may, or must not, share an answer; and how well scores and decisions tell them apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_cache.query import context_digest

RULED_OUT = -1.0
"""The score of a pair that something rules out."""
_FALSE_HITS = (0.005, 0.01, 0.02, 0.05, 0.10, 0.20)


@dataclass(frozen=True)
class Pair:
    asked: str
    stored: str
    same: bool
    """Whether the answer to `stored` answers `asked`."""
    kind: str = ""
    asked_context: bytes = b""
    stored_context: bytes = b""


def read_pairs(file: Path) -> list[Pair]:
    """JSON lines with `a`, `b`, `same` and perhaps `kind`: `a` is held, and `b` is asked."""
    rows = map(json.loads, file.read_text().splitlines())
    return [Pair(row["b"], row["a"], row["same"], row.get("kind", "")) for row in rows]


def read_conversations(file: Path) -> list[Pair]:
    """JSON lines with two conversations `a` and `b`, their `subtype`, and `same_answer` to their last messages."""
    rows = map(json.loads, file.read_text().splitlines())
    return [
        Pair(
            row["b"][-1]["content"],
            row["a"][-1]["content"],
            row["same_answer"],
            row["subtype"],
            context_digest({"messages": row["b"][:-1]}),
            context_digest({"messages": row["a"][:-1]}),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Told:
    """How decisions tell pairs apart."""

    recall: float
    """Share of good pairs that are served; NaN without any."""
    false_hits: float
    """Share of bad pairs that are served; NaN without any."""
    precision: float
    """Share of what is served that is right; NaN when nothing is."""


def told(pairs: Sequence[Pair], served: Sequence[bool]) -> Told:
    same, hit = np.array([pair.same for pair in pairs], bool), np.array(served, bool)
    return Told(_share(hit[same]), _share(hit[~same]), _share(same[hit]))


def by_kind(pairs: Sequence[Pair], ways: Mapping[str, Sequence[bool]]) -> list[dict[str, Any]]:
    """A row for each kind: of its pairs, the share that each way serves."""
    rows = []
    for kind, same in sorted({(pair.kind, pair.same) for pair in pairs}, key=lambda each: (each[1], each[0])):
        of_kind = [place for place, pair in enumerate(pairs) if (pair.kind, pair.same) == (kind, same)]
        shares = {way: _share(np.array([served[place] for place in of_kind])) for way, served in ways.items()}
        rows.append({"kind": kind, "good": same, "pairs": len(of_kind), **shares})
    return rows


def auc(same: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """The chance that a good pair scores above a bad one; equal scores count half."""
    good, bad = scores[same], np.sort(scores[~same])
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    return float(below.mean() / (2 * len(bad))) if len(good) and len(bad) else float("nan")


def recalls(same: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, float]:
    """Points of the ROC: by the share of bad pairs that may be served, the share of good ones then served at most.

    What is ruled out is never served.
    """
    good, bad = scores[same], np.sort(scores[~same])[::-1]
    points = {}
    for share in _FALSE_HITS:
        first_left_out = bad[int(share * len(bad))] if len(bad) else RULED_OUT
        points[f"at {100 * share:g} %"] = _share(good > max(first_left_out, RULED_OUT))
    return points


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
