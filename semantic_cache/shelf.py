"""Shelf: what is held, in one: documents, the index over them and quotas agree whatever is put and dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from semantic_cache.documents import Document, Documents, Held
from semantic_cache.index import Neighbor, VectorIndex
from semantic_cache.query import Query
from semantic_cache.quota import Quotas


class Shelf:
    """Safe to use from several threads. Raises TierUnavailable when the documents cannot be reached."""

    def __init__(self, documents: Documents, index: VectorIndex, quotas: Quotas) -> None:
        """Both hold the same already, which takes a look at all that is remembered of the documents."""
        self._documents, self._index, self.quotas = documents, index, quotas
        self._changing = threading.Lock()
        for held in documents.held():
            quotas.added(held)

    def exact(self, query: Query) -> tuple[int, Document] | None:
        """The document of this query, in the same words, and its id."""
        document_id = self._documents.find(query.exact_key)
        document = None if document_id is None else self._documents.get(document_id)
        return None if document_id is None or document is None else (document_id, document)

    def near(self, query: Query, vector: NDArray[np.float32], k: int) -> list[Neighbor]:
        """The nearest in the query's partition, best first. Touches no disk."""
        return self._index.search(query.partition, vector, k)

    def read(self, query: Query, neighbors: Iterable[Neighbor]) -> Iterator[tuple[Neighbor, Document]]:
        """Those that are there still, and the query's partition's; one by one, when they are asked for."""
        for neighbor in neighbors:
            document = self._documents.get(neighbor.id)
            if document is not None and document.query.partition == query.partition:
                yield neighbor, document

    def put(self, document: Document, vector: NDArray[np.float32]) -> None:
        """In place of what had its query; what there is then too much of goes."""
        with self._changing:
            before = self.exact(document.query)
            held = self._documents.put(document, vector)
            if before is not None:
                document_id, former = before
                self._forget(document_id, former.query.partition, former.category)
            self._index.add(document.query.partition, held.id, vector)
            self.quotas.added(held)
            self._drop(self.quotas.excess(document.saved_at_s))

    def drop(self, document_ids: Sequence[int]) -> int:
        """Forget them, for good. How many were held."""
        with self._changing:
            return self._drop(document_ids)

    def drop_expired(self, now_s: float) -> int:
        """Those whose time is over."""
        with self._changing:
            expired = self._documents.expired(now_s)
            for held in expired:
                self._forget(held.id, held.partition, held.category)
            return self._documents.delete([held.id for held in expired])

    def held(self) -> Iterable[Held]:
        """Everything, in the order in which it came."""
        return self._documents.held()

    def _drop(self, document_ids: Sequence[int]) -> int:
        for document_id in document_ids:
            if (document := self._documents.get(document_id)) is not None:
                self._forget(document_id, document.query.partition, document.category)
        return self._documents.delete(document_ids)

    def _forget(self, document_id: int, partition: bytes, category: str) -> None:
        self._index.remove(partition, [document_id])
        self.quotas.gone(category, [document_id])
