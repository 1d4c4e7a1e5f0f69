"""Every index, for what all of them keep to; and what is HnswIndex's own."""

import threading

import numpy as np
import pytest

from kvstore import Background
from semantic_cache import hnsw_graph
from semantic_cache.flat_index import FlatIndex
from semantic_cache.hnsw_index import HnswIndex
from semantic_cache.packed_vectors import appended, cosines, no_rows, pack, unpack, without
from tests.semantic_cache.contracts_of_indexes import VectorIndexContract, ids
from tests.semantic_cache.made_up import vector, vectors


class TestFlatIndex(VectorIndexContract):
    def make_index(self, dimension):
        return FlatIndex(dimension)


class TestHnswIndex(VectorIndexContract):
    def make_index(self, dimension):
        self.background = Background(threads=1, begin=hnsw_graph.run_alone)
        return HnswIndex(dimension, self.background)

    def settle(self, index):
        assert self.background.flush(60)

    def end(self, index):
        index.close()
        self.background.close()


class TestHnswIndexOfGraphs(TestHnswIndex):
    """The same with a graph from a few vectors on."""

    def make_index(self, dimension):
        self.background = Background(threads=1, begin=hnsw_graph.run_alone)
        return HnswIndex(dimension, self.background, most_flat=10, most_waiting=4)


@pytest.fixture
def background():
    made = Background(threads=1, begin=hnsw_graph.run_alone)
    yield made
    made.close()


def graph_of(index, partition=b"p"):
    (found,) = [each for each in index.contents() if each.partition == partition]
    return found.graph


def test_a_graph_finds_nearly_what_looking_at_all_finds(background):
    index, flat = HnswIndex(32, background), FlatIndex(32)
    held = vectors(3000, 32)
    for number, each in enumerate(held):
        index.add(b"p", number, each)
    flat._partitions[b"p"] = np.arange(3000), held
    assert background.flush(60)
    assert graph_of(index).num_shown >= 2700
    queries = vectors(200, 32)
    right = [ids(index.search(b"p", query, 1)) == ids(flat.search(b"p", query, 1)) for query in queries]
    assert np.mean(right) >= 0.96


def test_a_graph_is_built_anew_without_what_was_removed(background):
    index = HnswIndex(8, background, most_flat=100, most_waiting=10)
    for number in range(400):
        index.add(b"p", number, vector(number))
    assert background.flush(60)
    index.remove(b"p", range(0, 400, 2))
    assert background.flush(60)
    graph = graph_of(index)
    assert graph.num_rows == graph.num_shown <= 200
    assert sum(ids(index.search(b"p", vector(number), 1)) == [number] for number in range(1, 400, 2)) >= 198
    before = {number: index.search(b"p", vector(number), 1)[0].cosine for number in range(1, 400, 50)}
    index.remove(b"p", range(101, 300, 2))
    assert background.flush(60)
    after = {number: index.search(b"p", vector(number), 1)[0].cosine for number in range(1, 400, 50)}
    assert all(after[number] == before[number] for number in after if not 101 <= number < 300)


def test_what_is_removed_while_it_is_moved_into_a_graph_stays_removed(background, monkeypatch):
    index, built, go_on = HnswIndex(8, background, most_flat=20, most_waiting=5), threading.Event(), threading.Event()
    build = hnsw_graph.built

    def slowly(rows, stopped):
        graph = build(rows, stopped)
        built.set()
        assert go_on.wait(30)
        return graph

    monkeypatch.setattr(hnsw_graph, "built", slowly)
    for number in range(20):
        index.add(b"p", number, vector(number))
    assert built.wait(30)
    index.remove(b"p", [3])
    index.add(b"p", 50, vector(50))
    assert len(index.search(b"p", vector(3), 30)) == 20
    go_on.set()
    assert background.flush(30)
    assert graph_of(index) is not None
    assert sorted(ids(index.search(b"p", vector(3), 30))) == [*range(3), *range(4, 20), 50]


def test_closing_does_not_wait_for_a_graph(background):
    index = HnswIndex(64, background)
    for number, each in enumerate(vectors(5000, 64)):
        index.add(b"p", number, each)
    index.close()
    assert background.flush(20)
    assert len(index) == 5000
    assert len(index.search(b"p", vector(1, 64), 3)) == 3


def test_packed_vectors_are_close_and_keep_their_length():
    held, queries = vectors(500, 384), vectors(20, 384)
    rows = no_rows(384)
    for number, each in enumerate(held):
        rows = appended(rows, pack(number, each, 384))
    off = np.array([cosines(rows, query) for query in queries]) - queries @ held.T
    assert np.abs(off).max() < 0.003
    assert np.abs(np.linalg.norm(unpack(rows), axis=1) - 1).max() < 1e-5
    assert rows["id"].tolist() == list(range(500))


def test_appending_leaves_what_others_read_as_it_is():
    earlier, rows = [], no_rows(8)
    for number in range(40):
        rows = appended(rows, pack(number, vector(number), 8))
        earlier.append(rows)
    kept = without(rows, np.array([5, 39]))
    appended(kept, pack(99, vector(99), 8))
    for number, each in enumerate(earlier):
        assert each["id"].tolist() == list(range(number + 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_of_numbers_is_declined(background, bad):
    index = HnswIndex(8, background)
    with pytest.raises(ValueError, match="finite"):
        index.add(b"p", 1, np.full(8, bad, np.float32))
