"""AnswerCache contract: what the front asks of a semantic cache; and the naive one, the same words alone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from connectors.proxy.sameness import same_answer
from connectors.proxy.schemas import CategoryLine
from semantic_cache.cache import Near
from semantic_cache.decision import Decision, Outcome
from semantic_cache.documents import Document, Documents
from semantic_cache.in_context import InContext
from semantic_cache.memory_documents import MemoryDocuments
from semantic_cache.query import Query


class AnswerCache(Protocol):
    """Safe in threads; calls take milliseconds, and raise KVCacheError when it cannot be asked."""

    def find(self, query: Query) -> Decision:
        """The answer held, or why there is none. Raises InvalidRequest for a category that there is not."""

    def add(self, query: Query, response: bytes, writer: str, compute_s: float, ttl_s: float | None = None) -> bool:
        """Keep an answer. False where that is barred."""

    def feedback(self, hit_id: str, tenant: str, right: bool) -> bool:
        """Of an answer that was given to this tenant, or would have been. False for an id that is not known."""

    def drop(self, document_ids: Sequence[int]) -> int:
        """How many were held."""


class Load(Protocol):
    """How loaded the upstream is. Safe in threads."""

    def began(self) -> None: ...

    def ended(self, latency_s: float | None) -> None:
        """None for a call that says nothing: it failed, or was given up."""

    def tell(self, load: float, for_s: float = 60.0) -> None:
        """Whatever is measured, that is it for so long. Raises InvalidRequest."""

    @property
    def value(self) -> float:
        """From 0 to 1, now."""


@dataclass(frozen=True)
class Answering:
    """A semantic cache, and what lies under it, for who looks after it. All of it is the opener's to close."""

    cache: AnswerCache
    documents: Documents
    load: Load | None = None
    categories: Callable[[], Sequence[CategoryLine]] = tuple
    same: Callable[[bytes, bytes], bool] = same_answer
    """Whether two answers, as they are kept, say the same: what an exploration is judged by."""
    alike: Callable[[Query, Sequence[Query]], int | None] | None = None
    """Which of these queries, all of one partition and none answered yet, will have an answer that is served to this
    one; None where none will, or it is not to be waited for. Raises KVCacheError."""
    near: Callable[[Query, str, int], Sequence[Near] | None] | None = None
    """Answers to be shown to a small model, as `SemanticCache.near` finds them. Raises KVCacheError."""
    in_context: InContext | None = None
    """What is known of their worth."""


class ExactAnswers:
    """Counts nothing and learns nothing."""

    def __init__(self, documents: Documents | None = None, clock: Callable[[], float] = time.time) -> None:
        self.documents: Documents = documents or MemoryDocuments()
        self._clock = clock

    def find(self, query: Query) -> Decision:
        document_id = self.documents.find(query.exact_key)
        document = None if document_id is None else self.documents.get(document_id)
        if document is None or document.expires_at_s <= self._clock():
            return Decision(Outcome.MISS, "this was not asked in the same words", query.category or "default")
        why, hit_id = "the same was asked in the same words", secrets.token_hex(16)
        return Decision(Outcome.EXACT, why, document.category, document=document, hit_id=hit_id)

    def add(self, query: Query, response: bytes, writer: str, compute_s: float, ttl_s: float | None = None) -> bool:
        now_s = self._clock()
        expires_at_s = float("inf") if ttl_s is None else now_s + ttl_s
        category = query.category or "default"
        self.documents.put(Document(query, category, response, writer, now_s, expires_at_s, compute_s), None)
        return True

    def feedback(self, hit_id: str, tenant: str, right: bool) -> bool:
        return False

    def drop(self, document_ids: Sequence[int]) -> int:
        return self.documents.delete(document_ids)
