"""Marks: the headers that say of an answer where it came from, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from connectors.proxy.passing import RawHeaders

HIT, MISS, BYPASS = "hit", "miss", "bypass"
_MOST_WHY, _MOST_EXPLANATION = 300, 6000


def marks(
    cache: str,
    why: str,
    rung: str = "",
    hit_id: str = "",
    category: str = "",
    age_s: float | None = None,
    model: str = "",
    num_examples: int | None = None,
    explanation: Mapping[str, Any] | None = None,
) -> RawHeaders:
    """Whatever they are given, they are headers: one line of printable ASCII each."""
    said = {
        "x-kvstore-cache": cache,
        "x-kvstore-cache-why": why,
        "x-kvstore-cache-rung": rung,
        "x-kvstore-hit-id": hit_id,
        "x-kvstore-category": category,
        "x-kvstore-model": model,
        "x-kvstore-examples": "" if num_examples is None else str(num_examples),
        "age": "" if age_s is None else str(max(0, int(age_s))),
        "x-kvstore-explanation": "" if explanation is None else _fitting(explanation),
    }
    return [(name.encode(), _line(value)) for name, value in said.items() if value]


def _line(value: str) -> bytes:
    most = _MOST_EXPLANATION if value.startswith("{") else _MOST_WHY
    return "".join(char if " " <= char <= "~" else "?" for char in value[:most]).encode()


def _fitting(explanation: Mapping[str, Any]) -> str:
    """As JSON, without what would make it too long."""
    fitting: dict[str, Any] = {}
    for name, value in explanation.items():
        if len(json.dumps({**fitting, name: value}, default=str)) <= _MOST_EXPLANATION:
            fitting[name] = value
        else:
            fitting.setdefault("left_out", []).append(name)
    return json.dumps(fitting, default=str)
