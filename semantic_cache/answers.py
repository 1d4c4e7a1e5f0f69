"""Answers: documents and the index over them, opened as one and agreeing, whatever became of either.

    documents/   LMDB (`document_file.py`): what is true
    index        the index as it was saved last (`index_file.py`): saves the time to build it
    writer.lock  of the one process that writes the directory

What is in the file and not in the documents is left out; what is in the documents and not in the file is added. So
nothing need be done to both at one moment, and whoever is killed between the two leaves no more to do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from kvstore.background import Background
from kvstore.errors import TierUnavailable
from semantic_cache.embedder import Vectors
from semantic_cache.hnsw_graph import run_alone
from semantic_cache.hnsw_index import Contents, HnswIndex
from semantic_cache.index_file import IndexIdentity, load_index, save_index
from semantic_cache.lmdb_documents import LmdbDocuments
from semantic_cache.packed_vectors import Ids, Rows

_log = logging.getLogger(__name__)
Embed = Callable[[Sequence[str]], Vectors]
_SAVE_EVERY = 10_000  # changes, or a tenth of what is held if that is more
_EMBEDDED_AT_ONCE = 64
_MOST_JOBS = 100_000


class Answers:
    """One process has a directory open; `open_answers` opens it. Close it, or use `with`."""

    def __init__(self, documents: LmdbDocuments, index: HnswIndex, background: Background, saving: _Saving) -> None:
        self.documents, self.index = documents, index
        self._background, self._saving = background, saving

    def settled(self, timeout_s: float | None = None) -> bool:
        """Waits until nothing is built, embedded or saved in the background; False when that took longer."""
        return self._background.flush(timeout_s)

    def close(self) -> None:
        """Saves the index, where anything changed, and brings the documents to the disk. Safe to repeat."""
        self._saving.ends = True
        self.index.close()
        self._background.close()
        self._saving.save(self.index)
        self.documents.close()

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_answers(directory: Path | str, embedder: str, dimension: int, embed: Embed | None = None) -> Answers:
    """The answers of one directory, with the index over their vectors, of the embedder with this fingerprint.

    What has vectors of another embedder is embedded again in the background by `embed`, and is found by its exact
    key alone until then, or for ever where there is none. While a graph is built in the background, searches look at
    every vector of its partition. Raises TierUnavailable as `DocumentFile` does.
    """
    documents = LmdbDocuments(directory, embedder, dimension)
    background = Background(threads=1, most=_MOST_JOBS, begin=run_alone)
    try:
        saving = _Saving(documents, background, Path(directory) / "index", embedder, dimension)
        held = documents.ids_with_vector()
        contents = saving.load(documents.next_id, held)
        contents = _with_what_is_missing(contents, documents, held)
        index = HnswIndex(dimension, background, contents, after_change=saving.changed)
        index.settle()
        if embed is not None and len(ids := documents.ids_of_other_embedders()):
            background.submit(partial(_embed_again, documents, index, ids, embed, saving))
    except BaseException:
        background.close()
        documents.close()
        raise
    return Answers(documents, index, background, saving)


class _Saving:
    """The index's file, and when it is written."""

    def __init__(
        self, documents: LmdbDocuments, background: Background, path: Path, embedder: str, dimension: int
    ) -> None:
        self._documents, self._background, self._path = documents, background, path
        self._identity = IndexIdentity(documents.store.hex(), embedder, dimension)
        self._num_saved = -1  # changes that are in the file
        self._waits = False
        self.ends = False

    def load(self, next_id: int, held: Ids) -> list[Contents]:
        """What of these documents is saved."""
        saved = load_index(self._path, self._identity, next_id, held)
        if saved is None:
            return []
        if saved.num_left_out == 0:
            self._num_saved = 0
        return saved.contents

    def changed(self, index: HnswIndex) -> None:
        """Has it saved now and then, in the background."""
        if not self._waits and index.num_changes - self._num_saved > max(_SAVE_EVERY, len(index) // 10):
            self._waits = True
            self._waits = self._background.submit(partial(self._save_now, index))

    def _save_now(self, index: HnswIndex) -> None:
        try:
            self.save(index)
        finally:
            self._waits = False

    def save(self, index: HnswIndex) -> None:
        """In the thread that changes graphs, or when that has ended. What cannot be saved is built again."""
        num_changes = index.num_changes
        if num_changes == self._num_saved:
            return
        contents = list(index.contents())
        try:
            self._documents.sync()  # a loss of power leaves no id in the file that is given again
            save_index(self._path, self._identity, self._documents.next_id, contents)
            self._num_saved = num_changes
        except (OSError, TierUnavailable) as error:
            _log.warning("%s is not saved: %s", self._path, error)


def _with_what_is_missing(contents: Sequence[Contents], documents: LmdbDocuments, held: Ids) -> list[Contents]:
    """And the vectors of those of these documents that are not in it."""
    found = {each.partition: each for each in contents}
    missing = np.setdiff1d(held, np.concatenate([held[:0], *(each.ids() for each in contents)]))
    added: dict[bytes, list[Rows]] = {}
    for of_rows, rows in documents.packed_vectors(missing):
        for number, each in enumerate(of_rows):
            added.setdefault(each.partition, []).append(rows[number : number + 1])
    for partition, more in added.items():
        there = found.get(partition, Contents(partition, more[0][:0], None))
        found[partition] = Contents(partition, np.concatenate([there.rows, *more]), there.graph)
    return list(found.values())


def _embed_again(documents: LmdbDocuments, index: HnswIndex, ids: Ids, embed: Embed, saving: _Saving) -> None:
    """Some at a time, and the rest at the next opening when this one ends before."""
    for start in range(0, len(ids), _EMBEDDED_AT_ONCE):
        if saving.ends:
            return
        part: list[int] = ids[start : start + _EMBEDDED_AT_ONCE].tolist()
        found = [(each, document) for each in part if (document := documents.get(each)) is not None]
        vectors = embed([document.query.text for _, document in found])
        kept = documents.set_vectors([each for each, _ in found], vectors)
        of_kept = dict(zip((each for each, _ in found), vectors, strict=True))
        for held in kept:
            index.add(held.partition, held.id, of_kept[held.id])
