"""MemoryDocuments: dicts. The control of what outlives the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from semantic_cache.document_record import held_of, pack_document
from semantic_cache.documents import Document, Documents, Held


class MemoryDocuments(Documents):
    """Gone with the process."""

    def __init__(self) -> None:
        self._documents: dict[int, tuple[Held, Document, NDArray[np.float32] | None]] = {}
        self._ids: dict[bytes, int] = {}
        self._next_id = 0
        self._lock = threading.Lock()

    def put(self, document: Document, vector: NDArray[np.float32] | None) -> Held:
        with self._lock:
            held = held_of(self._next_id, document, len(pack_document(self._next_id, document)))
            self._next_id += 1
            self._documents.pop(self._ids.get(held.exact_key, -1), None)
            self._ids[held.exact_key] = held.id
            self._documents[held.id] = held, document, None if vector is None else vector.copy()
            return held

    def get(self, document_id: int) -> Document | None:
        with self._lock:
            found = self._documents.get(document_id)
            return found[1] if found else None

    def find(self, exact_key: bytes) -> int | None:
        with self._lock:
            return self._ids.get(exact_key)

    def delete(self, ids: Sequence[int]) -> int:
        with self._lock:
            gone = [self._documents.pop(each) for each in set(ids) if each in self._documents]
            for held, _, _ in gone:
                del self._ids[held.exact_key]
            return len(gone)

    def held(self) -> Iterator[Held]:
        with self._lock:
            return iter([held for held, _, _ in self._documents.values()])

    def expired(self, now_s: float) -> list[Held]:
        return sorted(
            (held for held in self.held() if held.expires_at_s <= now_s), key=lambda held: (held.expires_at_s, held.id)
        )

    def vectors(self) -> Iterator[tuple[Held, NDArray[np.float32]]]:
        with self._lock:
            return iter([(held, vector) for held, _, vector in self._documents.values() if vector is not None])
