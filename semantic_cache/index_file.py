"""The index's file: what a HnswIndex holds, so that it need not be built again. Written whole or not at all.

    partitions, rows, ids and graphs, one section behind the other; the last section says (JSON) where each begins,
    how long it is, its XXH3-128, and of which documents and embedder it is; 32 bytes at the end say where that begins,
    with its XXH3-128

    lengths    of each partition: bytes of its name, rows, rows of its graph (0: it has none)     [partition, 3]
    names      one behind the other
    rows       packed vectors of all partitions, one behind the other (see `packed_vectors.py`)
    ids        of all graphs' rows, one behind the other; -1 where a row is not shown
    graph N    as faiss writes them, in order

A section that does not match its checksum is not looked into: faiss takes what it reads as it is.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from kvstore.direct_io import sync_directory
from semantic_cache import hnsw_graph
from semantic_cache.hnsw_graph import Graph
from semantic_cache.hnsw_index import Contents
from semantic_cache.packed_vectors import Ids, row_type

_log = logging.getLogger(__name__)
_MAGIC = b"answers1"
_END = struct.Struct("<8sQ16s")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class IndexIdentity:
    """What an index file is of. Equal for two whose ids and vectors mean the same."""

    store: str
    """Of the documents, in hex: see `LmdbDocuments.store`."""
    embedder: str
    """Its fingerprint."""
    dimension: int


@dataclass(frozen=True)
class SavedIndex:
    contents: list[Contents]
    num_left_out: int
    """Of vectors that were shown and whose documents are gone."""


def save_index(path: Path, identity: IndexIdentity, next_id: int, contents: Iterable[Contents]) -> None:
    """`next_id` is above all ids in it. Raises OSError; then the file is what it was."""
    unfinished = path.with_suffix(".unfinished")
    try:
        with unfinished.open("wb", buffering=_BLOCK_BYTES) as file:
            _Writer(file).write(identity, next_id, contents)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_directory(path.parent)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise


def load_index(path: Path, identity: IndexIdentity, next_id: int, held: Ids) -> SavedIndex | None:
    """What is saved of these documents, [document] in order: the others are left out, and not shown by graphs.

    None when there is no file, or it is damaged, of something else, or of documents that are not there yet: `next_id`
    is less than when it was saved, so that the same ids may mean others.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file).read(identity, next_id, held)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        _log.warning("%s cannot be used (%s): the index is built anew", path, error)
        return None


class _Writer:
    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sections, self._start = file, dict[str, Any](), 0

    def write(self, identity: IndexIdentity, next_id: int, contents: Iterable[Contents]) -> None:
        lengths: list[Any] = []
        names: list[Any] = []
        rows: list[Any] = []
        ids: list[Any] = []
        for each in contents:
            num_in_graph = 0
            if each.graph is not None:
                self._section(f"graph {len(ids)}", each.graph.write)
                ids.append(each.graph.ids())
                num_in_graph = len(ids[-1])
            lengths.append((len(each.partition), len(each.rows), num_in_graph))
            names.append(each.partition)
            rows.append(each.rows.tobytes())
        self._bytes("lengths", [np.array(lengths, "<i8").tobytes()])
        self._bytes("names", names)
        self._bytes("rows", rows)
        self._bytes("ids", [each.astype("<i8").tobytes() for each in ids])
        head = {"identity": asdict(identity), "next_id": next_id, "sections": self._sections}
        packed = json.dumps(head).encode()
        self._file.write(packed + _END.pack(_MAGIC, self._start, xxhash.xxh3_128_digest(packed)))

    def _bytes(self, name: str, parts: Iterable[bytes]) -> None:
        def write(to: Callable[[bytes], object]) -> None:
            for part in parts:
                to(part)

        self._section(name, write)

    def _section(self, name: str, write: Callable[[Callable[[bytes], object]], None]) -> None:
        digest, start = xxhash.xxh3_128(), self._start

        def to(content: bytes) -> None:
            self._file.write(content)
            digest.update(content)
            self._start += len(content)

        write(to)
        self._sections[name] = {"start": start, "length": self._start - start, "xxh3": digest.hexdigest()}


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, identity: IndexIdentity, next_id: int, held: Ids) -> SavedIndex | None:
        head = self._head()
        if head["identity"] != asdict(identity) or head["next_id"] > next_id:
            _log.info("the index was saved for %s, not for %s: it is built anew", head["identity"], identity)
            return None
        self._sections = head["sections"]
        lengths = np.frombuffer(self._checked("lengths"), "<i8").reshape(-1, 3)
        rows = np.frombuffer(self._checked("rows"), row_type(identity.dimension))
        ids = np.frombuffer(self._checked("ids"), "<i8")
        names = self._checked("names")
        if tuple(lengths.sum(0)) != (len(names), len(rows), len(ids)):
            raise ValueError("its sections do not fit together")
        is_held, is_shown = np.isin(rows["id"], held), np.isin(ids, held)
        num_left_out = np.count_nonzero(~is_held) + np.count_nonzero(~is_shown & (ids != hnsw_graph.NOBODY))
        ids = np.where(is_shown, ids, hnsw_graph.NOBODY)
        contents, num_graphs = [], 0
        ends = np.cumsum(lengths, 0)
        for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True):
            name, there, of_graph = map(slice, start, end)
            kept = rows[there][is_held[there]]  # in an array of its own: it is appended to
            graph = None
            if of_graph.start < of_graph.stop:
                graph = self._graph(num_graphs, ids[of_graph], identity.dimension)
                num_graphs += 1
            if len(kept) or (graph and graph.num_shown):
                contents.append(Contents(names[name], kept, graph))
        return SavedIndex(contents, int(num_left_out))

    def _head(self) -> dict[str, Any]:
        self._file.seek(-_END.size, os.SEEK_END)
        end = self._file.tell()
        magic, start, digest = _END.unpack(self._file.read(_END.size))
        if magic != _MAGIC or start > end:
            raise ValueError("it is no index, or cut short")
        self._file.seek(start)
        packed = self._file.read(end - start)
        if xxhash.xxh3_128_digest(packed) != digest:
            raise ValueError("its end is damaged")
        head: dict[str, Any] = json.loads(packed)
        return head

    def _graph(self, number: int, ids: Ids, dimension: int) -> Graph:
        name = f"graph {number}"
        for _ in self._blocks(name):  # checked before faiss looks at it
            pass
        self._file.seek(self._sections[name]["start"])
        return hnsw_graph.read(self._file.read, ids, dimension)

    def _checked(self, name: str) -> bytes:
        return b"".join(self._blocks(name))

    def _blocks(self, name: str) -> Iterator[bytes]:
        """Raises ValueError at the end when they were damaged."""
        section, digest = self._sections[name], xxhash.xxh3_128()
        self._file.seek(section["start"])
        left = section["length"]
        while left:
            block = self._file.read(min(left, _BLOCK_BYTES))
            if not block:
                break
            digest.update(block)
            left -= len(block)
            yield block
        if digest.hexdigest() != section["xxh3"]:
            raise ValueError(f"section {name!r} is damaged")
