"""Documents contract: the answers that are kept, outside of memory. The naive one is in `memory_documents.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semantic_cache.query import Query


@dataclass(frozen=True)
class Document:
    """One answer, to one query; `response` is what the front keeps of it, which only the front reads."""

    query: Query
    category: str
    """That it was filed under."""
    response: bytes
    writer: str
    """Who had it computed."""
    saved_at_s: float
    """Unix time, as `expires_at_s`, which may be infinite."""
    expires_at_s: float
    compute_s: float
    """Time that it took to compute, which a hit saves."""


class Held(NamedTuple):
    """What is remembered of a document without reading it; a tuple, which is made sooner: opening looks at each."""

    id: int
    partition: bytes
    exact_key: bytes
    category: str
    tenant: str
    saved_at_s: float
    expires_at_s: float
    compute_s: float
    size_bytes: int


class Documents(ABC):
    """Documents by id, and by the exact key of their query: the last one that was put. Safe from several threads.

    All methods raise TierUnavailable when the store beneath fails.
    """

    @abstractmethod
    def put(self, document: Document, vector: NDArray[np.float32] | None) -> Held:
        """Under a new id, which is never given again; `vector` is kept beside it, or none. What had its key, goes."""

    @abstractmethod
    def get(self, document_id: int) -> Document | None:
        """None when it is not held, or damaged: it is then no longer held, and counted."""

    @abstractmethod
    def find(self, exact_key: bytes) -> int | None:
        """The id of the document of this query, in the same words."""

    @abstractmethod
    def delete(self, ids: Sequence[int]) -> int:
        """How many of them were held."""

    @abstractmethod
    def held(self) -> Iterator[Held]:
        """Everything, in the order of its ids. Reads no response."""

    @abstractmethod
    def expired(self, now_s: float) -> list[Held]:
        """What has expired by then, the longest first. Takes no time for what has not."""

    @abstractmethod
    def vectors(self) -> Iterator[tuple[Held, NDArray[np.float32]]]:
        """Of all that have one: what an index is built from. For vectors of another embedder, see `answers.py`."""
