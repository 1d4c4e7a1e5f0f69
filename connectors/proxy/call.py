"""Call: a caller's request, as far as the upstream and the cache are concerned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.proxy.canonical import Asked
from connectors.proxy.wishes import Wishes


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]
    """For the upstream."""
    writer: str
    wishes: Wishes
    asked: Asked | None
    """None where it is no question for the cache."""
    why_not: str = ""
    """The cache is not asked."""
