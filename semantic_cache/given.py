"""Given answers: what feedback can be about, and which answers are known not to answer which queries."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from semantic_cache.certifier import Ruling
from semantic_cache.query import Query
from semantic_cache.recent import Recent

_MOST = 100_000


@dataclass(frozen=True)
class Given:
    """An answer that was given to a query, or would have been."""

    tenant: str
    exact_key: bytes
    """Of the query."""
    document_id: int
    category: str
    score: float | None = None
    """None where the words were the same."""
    ruling: Ruling | None = None
    """Likewise; what the certifier said."""


class GivenAnswers:
    """The last hundred thousand. Safe to use from several threads."""

    def __init__(self) -> None:
        self._given: Recent[str, Given] = Recent(_MOST)
        self._apart: Recent[tuple[bytes, int], bool] = Recent(_MOST)

    def remember(self, given: Given) -> str:
        """The id that names it in feedback: 32 hex digits that nobody can guess."""
        hit_id = secrets.token_hex(16)
        self._given.put(hit_id, given)
        return hit_id

    def take(self, hit_id: str, tenant: str) -> Given | None:
        """Once, and for the tenant it was given to."""
        given = self._given.get(hit_id)
        return self._given.pop(hit_id) if given is not None and given.tenant == tenant else None

    def set_apart(self, given: Given) -> None:
        """This document does not answer that query."""
        self._apart.put((given.exact_key, given.document_id), True)

    def is_apart(self, query: Query, document_id: int) -> bool:
        return self._apart.get((query.exact_key, document_id)) is not None
