"""LmdbDocuments: documents in LMDB, and their vectors beside them, packed. One process writes a directory.

Safe from several threads. A put is one transaction that waits for no disk: killed, the process leaves all of it or
nothing. What is damaged is dropped when it is met, and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kvstore.errors import TierUnavailable
from kvstore.lmdb_env import Transaction
from semantic_cache.document_file import DocumentFile
from semantic_cache.document_record import unpack_document, unpack_vector
from semantic_cache.document_rows import DocumentRows, embedder_key
from semantic_cache.documents import Document, Documents, Held
from semantic_cache.packed_vectors import Ids, Rows, pack, row_type, unpack

_log = logging.getLogger(__name__)
T = TypeVar("T")
_AT_ONCE = 1000  # documents listed, or deleted, in one transaction: no old pages are kept alive for long


def _is_id(number: int) -> bool:
    return 0 <= number < 1 << 63


class LmdbDocuments(Documents):
    """The documents of one directory, with the vectors of one embedder; those of others are kept, and not shown."""

    def __init__(self, directory: Path | str, embedder: str, dimension: int) -> None:
        """`embedder` is its fingerprint. Opens or creates the directory; see `DocumentFile` for errors."""
        self._dimension, self._embedder = dimension, embedder_key(embedder, dimension)
        self._file = DocumentFile(Path(directory))
        self.store = self._file.store
        """16 bytes, of this directory alone: ids mean nothing in another."""
        self.num_damaged = 0
        """Documents that were dropped because something of them failed a check."""

    def put(self, document: Document, vector: NDArray[np.float32] | None) -> Held:
        row = None if vector is None else pack(0, vector, self._dimension)
        _ = document.query.exact_key  # what cannot be encoded is raised here, and is no damage
        return self._write(lambda rows: rows.put(document, row, self._embedder))

    def get(self, document_id: int) -> Document | None:
        if not _is_id(document_id):
            return None
        with self._reading() as rows:
            record = rows.record(document_id)
        if record is None:
            return None
        document = unpack_document(document_id, record)
        if document is None:
            self._drop_damaged([document_id])
        return document

    def find(self, exact_key: bytes) -> int | None:
        with self._reading() as rows:
            return rows.find(exact_key)

    def delete(self, ids: Sequence[int]) -> int:
        num_deleted, wanted = 0, [each for each in ids if _is_id(each)]
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            num_deleted += self._write(partial(_drop_each, part))
        return num_deleted

    def held(self) -> Iterator[Held]:
        start = 0
        while True:
            with self._reading() as rows:
                found = rows.held_from(start, _AT_ONCE)
            if not found:
                return
            self._drop_damaged([each for each, held in found if held is None])
            yield from [held for _, held in found if held is not None]
            start = found[-1][0] + 1

    def expired(self, now_s: float) -> list[Held]:
        with self._reading() as rows:
            ids = rows.expired(now_s)
        return [held for held in self._held_of(ids) if held.expires_at_s <= now_s]

    def _held_of(self, ids: Sequence[int]) -> list[Held]:
        with self._reading() as rows:
            found = [rows.held(each) for each in ids]
            damaged = [each for each, held in zip(ids, found, strict=True) if held is None and rows.is_held(each)]
        self._drop_damaged(damaged)
        return [held for held in found if held is not None]

    def vectors(self) -> Iterator[tuple[Held, NDArray[np.float32]]]:
        for held, rows in self.packed_vectors(self.ids_with_vector()):
            yield from zip(held, unpack(rows), strict=True)

    def ids_with_vector(self) -> Ids:
        """In order."""
        with self._reading() as rows:
            return rows.ids_with_vector(self._embedder)

    def packed_vectors(self, ids: Ids) -> Iterator[tuple[list[Held], Rows]]:
        """Of those of these documents that have one, a thousand at a time."""
        for start in range(0, len(ids), _AT_ONCE):
            part: list[int] = ids[start : start + _AT_ONCE].tolist()
            held = self._held_of(part)
            with self._reading() as rows:
                packed = [rows.vector(each.id, self._embedder) for each in held]
            sound = [
                None if row is None else unpack_vector(each.id, row, self._dimension)
                for each, row in zip(held, packed, strict=True)
            ]
            self._drop_damaged(
                [
                    each.id
                    for each, row, whole in zip(held, packed, sound, strict=True)
                    if row is not None and whole is None
                ]
            )
            kept = [(each, whole) for each, whole in zip(held, sound, strict=True) if whole is not None]
            content = b"".join(whole for _, whole in kept)
            yield [each for each, _ in kept], np.frombuffer(content, row_type(self._dimension))

    def ids_of_other_embedders(self) -> Ids:
        """Of documents whose vectors are all of other embedders, in order."""
        with self._reading() as rows:
            of_others = [rows.ids_with_vector(each) for each in rows.embedders() if each != self._embedder]
            own = rows.ids_with_vector(self._embedder)
        return np.setdiff1d(np.concatenate([own[:0], *of_others]), own)

    def set_vectors(self, ids: Sequence[int], vectors: NDArray[np.float32]) -> list[Held]:
        """In place of those of other embedders, [document, dimension]; of those of these documents that are held."""
        packed = [pack(each, vector, self._dimension) for each, vector in zip(ids, vectors, strict=True)]

        def set_each(rows: DocumentRows) -> list[Held]:
            found = [(rows.held(each), row) for each, row in zip(ids, packed, strict=True)]
            for held, row in found:
                if held is not None:
                    rows.put_vector(held.id, row, self._embedder)
            return [held for held, _ in found if held is not None]

        return self._write(set_each)

    @property
    def next_id(self) -> int:
        """The id of the next document."""
        with self._reading() as rows:
            return rows.state()[1]

    def sync(self) -> None:
        """Returns when all that was put is on the disk."""
        self._file.env.sync()

    def file_bytes(self) -> int:
        """Length of the file on disk."""
        return self._file.env.file_bytes()

    def _drop_damaged(self, ids: Sequence[int]) -> None:
        if not ids:
            return
        self.num_damaged += len(ids)
        _log.warning("%d answers failed a check and are dropped, the first is %d", len(ids), ids[0])
        try:
            self.delete(ids)
        except TierUnavailable as error:  # it is a miss all the same, and dropped when it is met again
            _log.warning("they stay on the disk: %s", error)

    @contextmanager
    def _reading(self) -> Iterator[DocumentRows]:
        with self._file.env.reading() as transaction:
            yield DocumentRows(transaction, self._file.env.tables)

    def _write(self, work: Callable[[DocumentRows], T]) -> T:
        return self._file.env.write(partial(self._apply, work))

    def _apply(self, work: Callable[[DocumentRows], T], transaction: Transaction) -> T:
        return work(DocumentRows(transaction, self._file.env.tables))

    def close(self) -> None:
        """Brings everything to the disk. Safe to repeat."""
        self._file.close()

    def __enter__(self) -> LmdbDocuments:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _drop_each(ids: Sequence[int], rows: DocumentRows) -> int:
    return sum(map(rows.drop, ids))
