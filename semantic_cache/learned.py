"""What certifiers have learned, as JSON: to keep over a restart, and to add up that of several processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any

from kvstore.errors import InvalidRequest
from semantic_cache.evidence import Evidence
from semantic_cache.score_bins import BINS, ScoreBins
from semantic_cache.watch import Watch

_FORMAT = 2
_COUNTS = ("exact", "answers", "harm", "observed", "betrayed", "suspicion")
_BINS = ("seen", "labels", "wrong")


@dataclass(frozen=True)
class Learned:
    requests: float
    """Of all categories, in the time that this tells of."""
    categories: dict[str, Evidence]


def as_json(learned: Learned) -> str:
    categories = {
        name: {
            "since": evidence.since,
            "seen": evidence.bins.seen,
            "labels": evidence.bins.labels,
            "wrong": evidence.bins.wrong,
            "exact": evidence.exact,
            "answers": evidence.answers,
            "harm": evidence.harm,
            "observed": evidence.observed,
            "betrayed": evidence.betrayed,
            "suspicion": evidence.watch.suspicion,
        }
        for name, evidence in learned.categories.items()
    }
    return json.dumps({"format": _FORMAT, "requests": learned.requests, "categories": categories})


def from_json(text: str) -> Learned:
    """Raises InvalidRequest for what `as_json` does not write."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"what was learned is no JSON ({error}): learn anew") from error
    _check(isinstance(read, dict) and read.get("format") == _FORMAT, f"is not of format {_FORMAT}")
    requests, categories = read.get("requests"), read.get("categories")
    _check(_is_count(requests), "has no number of requests")
    _check(isinstance(categories, dict), "has no categories")
    return Learned(requests, {name: _evidence(one, requests) for name, one in categories.items()})


def _evidence(read: Any, requests: float) -> Evidence:
    _check(isinstance(read, dict), "has a category that is no table")
    for name in _BINS:
        counts = read.get(name)
        _check(
            isinstance(counts, list) and len(counts) == BINS and all(map(_is_count, counts)), f"has no good {name!r}"
        )
    for name in _COUNTS:
        _check(_is_count(read.get(name)), f"has no good {name!r}")
    since = read.get("since")
    _check(_is_count(since) and since <= requests, "has no good 'since'")
    _check(all(map(float.__le__, map(float, read["wrong"]), map(float, read["labels"]))), "has more wrong than labels")
    return Evidence(
        since=since,
        bins=ScoreBins(read["seen"], read["labels"], read["wrong"]),
        exact=read["exact"],
        answers=int(read["answers"]),
        harm=read["harm"],
        observed=int(read["observed"]),
        betrayed=int(read["betrayed"]),
        watch=Watch(read["suspicion"]),
    )


def _check(is_good: bool, otherwise: str) -> None:
    if not is_good:
        raise InvalidRequest(f"what was learned {otherwise}: learn anew")


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and 0 <= value < 1e15
