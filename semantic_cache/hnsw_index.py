"""HnswIndex: packed rows that are looked at one by one while a partition is small, and a graph beyond.

What is added goes to a partition's rows, which callers read without a lock. A thread in the background moves them
into a graph once there are enough, first a new one, then the one there is; nobody else changes a graph, so that it
can be built anew, without what was removed, and saved while callers search it and add. A vector that is being moved
is in both, and shown in one: it is hidden in the graph until it leaves the rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvstore.background import Background
from semantic_cache import hnsw_graph
from semantic_cache.hnsw_graph import Graph, Stopped
from semantic_cache.index import Neighbor, VectorIndex
from semantic_cache.packed_vectors import Ids, Rows, appended, cosines, no_rows, pack, without

_MOST_FLAT = 1000  # below, looking at all is as fast
_MOST_WAITING = 256  # rows beside a graph: few enough to look at, enough to be moved together
_DEAD_SHARE = 0.25  # of a graph: then it is built anew


class _Partition:
    """A million of them have one row: no lock, no dict, no list."""

    __slots__ = ("being_moved", "graph", "rows")

    def __init__(self, rows: Rows, graph: Graph | None = None) -> None:
        self.rows, self.graph, self.being_moved = rows, graph, False


@dataclass(frozen=True)
class Contents:
    """One partition, as it is saved; the graph may be searched meanwhile, and is not added to."""

    partition: bytes
    rows: Rows
    graph: Graph | None

    def ids(self) -> Ids:
        """Of all that is shown, in any order."""
        of_graph = self.graph.ids() if self.graph else self.rows["id"][:0]
        return np.concatenate([self.rows["id"], of_graph[of_graph != hnsw_graph.NOBODY]])


class HnswIndex(VectorIndex):
    """Searches wait for no change but the adding of one vector to a graph (0.3 ms). Adds and removals do not wait
    for a graph to be built either.
    """

    def __init__(
        self,
        dimension: int,
        background: Background,
        contents: Sequence[Contents] = (),
        after_change: Callable[[HnswIndex], object] = lambda index: None,
        most_flat: int = _MOST_FLAT,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        """`background` has one thread, which `hnsw_graph.run_alone` begins; it is closed after this."""
        self.dimension, self._background, self._after_change = dimension, background, after_change
        self._most_flat, self._most_waiting = most_flat, most_waiting
        self._no_rows = no_rows(dimension)
        self._changing = threading.Lock()  # partitions and what they refer to; never held while a graph is built
        self._closed = False
        self._partitions = {each.partition: _Partition(each.rows, each.graph) for each in contents}
        self._num_vectors = sum(
            len(each.rows) + (each.graph.num_shown if each.graph else 0) for each in self._partitions.values()
        )
        self.num_changes = 0
        """Vectors added, removed, and moved to a graph since it was opened."""

    def add(self, partition: bytes, document_id: int, vector: NDArray[np.float32]) -> None:
        row = pack(document_id, vector, self.dimension)
        with self._changing:
            there = self._partitions.get(partition)
            if there is None:
                there = self._partitions[partition] = _Partition(self._no_rows)
            there.rows = appended(there.rows, row)
            self._num_vectors += 1
            self.num_changes += 1
            self._settle_later(there)
        self._after_change(self)

    def remove(self, partition: bytes, ids: Sequence[int]) -> None:
        gone = np.asarray(ids, np.int64)
        with self._changing:
            there = self._partitions.get(partition)
            if there is None or not len(gone):
                return
            kept = without(there.rows, gone)
            num_removed = len(there.rows) - len(kept)
            there.rows = kept
            if there.graph:
                num_removed += there.graph.hide(gone)
            self._num_vectors -= num_removed
            self.num_changes += num_removed
            if not len(kept) and not (there.graph and there.graph.num_shown):
                del self._partitions[partition]
            else:
                self._settle_later(there)
        self._after_change(self)

    def search(self, partition: bytes, vector: NDArray[np.float32], k: int) -> list[Neighbor]:
        there = self._partitions.get(partition)
        if there is None or k < 1:
            return []
        rows, graph = there.rows, there.graph  # in this order: what leaves the rows is in the graph before
        if graph is None:
            return _nearest(rows, vector, k)
        found = graph.search(vector, k)
        if not len(rows):
            return found
        by_id = {neighbor.id: neighbor for neighbor in [*found, *_nearest(rows, vector, k)]}
        return sorted(by_id.values(), key=lambda neighbor: -neighbor.cosine)[:k]

    def __len__(self) -> int:
        return self._num_vectors

    def contents(self) -> Iterator[Contents]:
        """All of it, for the thread in the background, or once that is closed."""
        with self._changing:
            partitions = list(self._partitions.items())
        for partition, there in partitions:
            with self._changing:  # else a row may be in neither
                rows, graph = there.rows, there.graph
            yield Contents(partition, rows, graph)

    def settle(self) -> None:
        """Has every partition that wants it moved, or built anew, in the background."""
        with self._changing:
            for there in self._partitions.values():
                self._settle_later(there)

    def close(self) -> None:
        """Ends what is being built, which is begun again the next time it is opened."""
        self._closed = True

    def _settle_later(self, there: _Partition) -> None:
        if self._task(there) and not there.being_moved:
            there.being_moved = self._background.submit(lambda: self._settle(there))

    def _settle(self, there: _Partition) -> None:
        """Until there is nothing to do."""
        try:
            while task := self._task(there):
                task(there)
        except Stopped:
            return
        finally:
            there.being_moved = False

    def _task(self, there: _Partition) -> Callable[[_Partition], None] | None:
        """What is to be done with a partition; only what is done in the background changes that to nothing."""
        graph, num_waiting = there.graph, len(there.rows)
        if graph is None:
            return self._build if num_waiting >= self._most_flat else None
        if graph.num_rows - graph.num_shown > _DEAD_SHARE * graph.num_rows:
            return self._rebuild
        return self._move if num_waiting >= self._most_waiting else None

    def _build(self, there: _Partition) -> None:
        rows = there.rows
        self._moved(there, rows, hnsw_graph.built(rows, self._is_closed))

    def _move(self, there: _Partition) -> None:
        rows, graph = there.rows, there.graph
        assert graph is not None
        if not graph.has_room_for(rows):
            self._rebuild(there)
            return
        graph.add(rows, self._is_closed)
        self._moved(there, rows, graph)

    def _rebuild(self, there: _Partition) -> None:
        rows, graph = there.rows, there.graph
        assert graph is not None
        self._moved(there, rows, graph.rebuilt(rows, self._is_closed))

    def _moved(self, there: _Partition, rows: Rows, graph: Graph) -> None:
        """These rows are in the graph now; it shows what was not removed meanwhile."""
        with self._changing:
            if there.graph is graph:
                graph.show(there.rows["id"], graph.num_rows - len(rows))  # callers wait meanwhile
                self.num_changes += len(rows)
            else:
                graph.show(there.rows["id"])
                graph.show(there.graph.ids() if there.graph else rows["id"][:0])
                there.graph = graph if graph.num_shown else None
                self.num_changes += graph.num_rows
            there.rows = without(there.rows, rows["id"])

    def _is_closed(self) -> bool:
        return self._closed


def _nearest(rows: Rows, vector: NDArray[np.float32], k: int) -> list[Neighbor]:
    """By looking at each."""
    found = cosines(rows, vector)
    best = np.argpartition(-found, k - 1)[:k] if k < len(found) else np.arange(len(found))
    best = best[np.argsort(-found[best], kind="stable")]
    return [Neighbor(int(rows["id"][row]), float(found[row])) for row in best]
