"""Graph: the vectors of one large partition, found by walking a graph of near ones. The only file that calls faiss.

Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical navigable small
world graphs (IEEE TPAMI 2020), as faiss has it: algorithm 5 with M = 32, efConstruction = 100, ef = 48, over codes
of 8 bits a dimension between the bounds of the vectors it began with, widened by a tenth on either side. Cosines
are those of the codes.

A graph forgets nothing: what is removed is no longer shown, and its place is known until the graph is built anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from semantic_cache.index import Neighbor
from semantic_cache.packed_vectors import Ids, Rows, Vector, unpack

_LINKS, _EF_CONSTRUCTION, _EF_SEARCH = 32, 100, 48
_WIDENED = 0.1  # of the range of a coordinate: vectors that come later are cut to it
_MOSTLY_KEPT = 0.995  # cosine of a vector and what is kept of it; else there have to be wider bounds
_TRAINED_ON = 20_000  # vectors say the bounds well enough
_ROWS_AT_ONCE = 64  # built between two looks at whether to go on
NOBODY = -1  # the id of what is no longer shown
_NONE = np.empty(0, np.int64)


class Stopped(Exception):
    """What was being built is not wanted any more."""


class Graph:
    """One thread may change what is in it (`add`), while any number search it.

    `show` and `hide` are for one thread at a time, which may be another.
    """

    def __init__(self, hnsw: faiss.IndexHNSWSQ, ids: Ids, shown: NDArray[np.int64]) -> None:
        """`ids` of all its rows, and the numbers of those that are shown."""
        self._hnsw, self._ids = hnsw, ids
        hnsw.hnsw.efConstruction = _EF_CONSTRUCTION
        self._walking = threading.Lock()  # faiss's additions are not safe beside its searches
        self._shown = _Shown(len(ids))
        self._shown.show(shown)
        self.num_shown = len(shown)

    @property
    def num_rows(self) -> int:
        """Shown or not."""
        return len(self._ids)

    def add(self, rows: Rows, stopped: Callable[[], bool]) -> None:
        """Rows that `show` will show. Raises Stopped when it is."""
        first = len(self._ids)
        self._ids = np.concatenate([self._ids, rows["id"]])
        for number, vector in enumerate(unpack(rows)):
            if stopped():
                self._ids = self._ids[: first + number]
                raise Stopped
            with self._walking:
                self._hnsw.add(vector[None])

    def show(self, ids: Ids, first: int = 0) -> None:
        """Those of these that are in its rows [first, num_rows), from now on."""
        rows = first + np.flatnonzero(np.isin(self._ids[first:], ids))
        self._shown = self._shown.grown(len(self._ids))
        self._shown.show(rows)
        self.num_shown += len(rows)

    def hide(self, ids: Ids) -> int:
        """How many of these were shown; they never are again."""
        rows = np.flatnonzero(np.isin(self._ids, ids))
        rows = rows[self._shown.are(rows)]
        self._shown.hide(rows)
        self.num_shown -= len(rows)
        return len(rows)

    def search(self, vector: Vector, k: int) -> list[Neighbor]:
        """The nearest that are shown, or nearly, best first: at most `k`."""
        parameters = self._shown.parameters
        with self._walking:
            cosines, rows = self._hnsw.search(vector[None], k, params=parameters)
        found = rows[0][rows[0] >= 0]
        ids = self._ids[found].tolist()
        return [Neighbor(each, min(cosine, 1.0)) for each, cosine in zip(ids, cosines[0].tolist(), strict=False)]

    def ids(self) -> Ids:
        """[row]; NOBODY where one is not shown."""
        rows = np.arange(len(self._ids))
        return np.where(self._shown.are(rows), self._ids, NOBODY)

    def write(self, to: Callable[[bytes], object]) -> None:
        """faiss's own format. Not while somebody adds."""

        def write(content: bytes) -> int:
            to(content)
            return len(content)

        faiss.write_index(self._hnsw, faiss.PyCallbackIOWriter(write))

    def has_room_for(self, rows: Rows) -> bool:
        """Whether these vectors are within its bounds, nearly: beyond, their cosines would be those of others."""
        vectors, codes = unpack(rows), faiss.downcast_index(self._hnsw.storage)
        kept = codes.sa_decode(codes.sa_encode(vectors))
        return bool((np.einsum("ij,ij->i", vectors, kept) > _MOSTLY_KEPT).all())

    def rebuilt(self, rows: Rows, stopped: Callable[[], bool]) -> Graph:
        """What is shown, and these, in a new one that shows nothing of it.

        The vectors of the former are the same to the bit, unless the latter need wider bounds. Raises Stopped when
        it is.
        """
        kept = np.flatnonzero(self.ids() != NOBODY)
        codes, hnsw = faiss.downcast_index(self._hnsw.storage), _empty(self._hnsw.d)
        if self.has_room_for(rows):
            bounds = faiss.vector_to_array(codes.sq.trained)
            faiss.copy_array_to_vector(bounds, faiss.downcast_index(hnsw.storage).sq.trained)
            hnsw.is_trained = hnsw.storage.is_trained = True
        else:
            some = codes.reconstruct_batch(kept[:: 1 + len(kept) // _TRAINED_ON])
            hnsw.train(np.concatenate([some, unpack(rows)]))
        _fill(hnsw, (codes.reconstruct_batch(part) for part in _parts(kept)), stopped)
        _fill(hnsw, (unpack(part) for part in _parts(rows)), stopped)
        return Graph(hnsw, np.concatenate([self._ids[kept], rows["id"]]), _NONE)


def built(rows: Rows, stopped: Callable[[], bool]) -> Graph:
    """Of at least one row; nothing of it is shown. Raises Stopped when it is."""
    hnsw = _empty(rows["codes"].shape[1])
    hnsw.train(unpack(rows[:: 1 + len(rows) // _TRAINED_ON]))
    _fill(hnsw, (unpack(part) for part in _parts(rows)), stopped)
    return Graph(hnsw, rows["id"].copy(), _NONE)


def read(chunks: Callable[[int], bytes], ids: Ids, dimension: int) -> Graph:
    """What `write` wrote, from a file that is checked already. Raises ValueError when it is none of these."""
    try:
        hnsw = faiss.read_index(faiss.PyCallbackIOReader(chunks))
    except RuntimeError as error:
        raise ValueError(f"faiss does not read it: {error}") from error
    if not isinstance(hnsw, faiss.IndexHNSWSQ) or hnsw.d != dimension or hnsw.ntotal != len(ids):
        raise ValueError(f"{type(hnsw).__name__} of {hnsw.ntotal} vectors of {hnsw.d}, not {len(ids)} of {dimension}")
    return Graph(hnsw, ids, np.flatnonzero(ids != NOBODY))


def run_alone() -> None:
    """The thread that calls this builds graphs on one core; the others are for those who ask."""
    faiss.omp_set_num_threads(1)


def _empty(dimension: int) -> faiss.IndexHNSWSQ:
    hnsw = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_INNER_PRODUCT)
    bounds = faiss.downcast_index(hnsw.storage).sq
    bounds.rangestat, bounds.rangestat_arg = faiss.ScalarQuantizer.RS_minmax, _WIDENED
    hnsw.hnsw.efConstruction = _EF_CONSTRUCTION
    return hnsw


def _fill(hnsw: faiss.IndexHNSWSQ, parts: Iterator[Vector], stopped: Callable[[], bool]) -> None:
    for part in parts:
        if stopped():
            raise Stopped
        hnsw.add(part)


def _parts(rows: NDArray[np.generic]) -> Iterator[Rows]:
    return (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))


class _Shown:
    """A bit for each row, which faiss reads where it lies."""

    def __init__(self, num_rows: int, bits: NDArray[np.uint8] | None = None) -> None:
        self._bits = np.zeros(-(-num_rows // 8) + 1024, np.uint8)
        if bits is not None:
            self._bits[: len(bits)] = bits
        selector = faiss.IDSelectorBitmap(self._bits)
        self.parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=_EF_SEARCH)

    def grown(self, num_rows: int) -> _Shown:
        """Itself while there is room."""
        return self if num_rows <= 8 * len(self._bits) else _Shown(num_rows + num_rows // 4, self._bits)

    def are(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[row]."""
        places = rows >> 3
        there = places < len(self._bits)
        found = np.zeros(len(rows), np.bool_)
        found[there] = self._bits[places[there]] >> (rows[there] & 7) & 1 != 0
        return found

    def show(self, rows: NDArray[np.int64]) -> None:
        np.bitwise_or.at(self._bits, rows >> 3, (1 << (rows & 7)).astype(np.uint8))

    def hide(self, rows: NDArray[np.int64]) -> None:
        np.bitwise_and.at(self._bits, rows >> 3, (~(1 << (rows & 7))).astype(np.uint8))
