"""What every VectorIndex keeps to."""

import threading

import numpy as np
import pytest

from kvstore.errors import InvalidRequest
from tests.semantic_cache.made_up import DIMENSION, vector, vectors

CLOSE = 0.005  # of cosines of packed vectors


def ids(found):
    return [neighbor.id for neighbor in found]


class VectorIndexContract:
    """Say how to make one with `make_index(dimension)`."""

    @pytest.fixture
    def index(self):
        made = self.make_index(DIMENSION)
        yield made
        self.end(made)

    def end(self, index):
        """Whatever it needs."""

    def settle(self, index):
        """Waits for what it does in the background."""

    def test_the_nearest_come_first_with_their_cosines(self, index):
        held = vectors(50)
        for number, each in enumerate(held):
            index.add(b"p", number, each)
        self.settle(index)
        for query in vectors(10):
            cosines = held @ query
            found = index.search(b"p", query, 5)
            assert [neighbor.cosine for neighbor in found] == pytest.approx(sorted(cosines, reverse=True)[:5], abs=0.01)
            assert all(abs(cosines[neighbor.id] - neighbor.cosine) < CLOSE * 2 for neighbor in found)

    def test_a_vector_is_nearest_to_itself(self, index):
        index.add(b"p", 7, vector(1))
        index.add(b"p", 8, vector(2))
        (found,) = index.search(b"p", vector(1), 1)
        assert found.id == 7
        assert found.cosine == pytest.approx(1, abs=CLOSE)

    def test_there_is_nothing_in_an_empty_partition(self, index):
        assert index.search(b"p", vector(1), 3) == []
        assert len(index) == 0

    def test_what_is_in_one_partition_is_never_found_from_another(self, index):
        for number in range(40):
            index.add(b"even" if number % 2 == 0 else b"odd", number, vector(number))
        self.settle(index)
        for number in range(40):
            assert all(each % 2 == 0 for each in ids(index.search(b"even", vector(number), 40)))
        assert index.search(b"neither", vector(0), 40) == []

    def test_no_more_are_found_than_asked_for_or_held(self, index):
        for number in range(5):
            index.add(b"p", number, vector(number))
        assert index.search(b"p", vector(0), 0) == []
        assert len(index.search(b"p", vector(0), 3)) == 3
        assert sorted(ids(index.search(b"p", vector(0), 9))) == [0, 1, 2, 3, 4]

    def test_what_is_removed_is_never_found_again(self, index):
        for number in range(30):
            index.add(b"p", number, vector(number))
        self.settle(index)
        index.remove(b"p", [3, 4, 99])
        index.remove(b"other", [5])
        index.remove(b"p", [])
        assert len(index) == 28
        for number in range(30, 60):
            index.add(b"p", number, vector(number))
        self.settle(index)
        for number in range(60):
            assert not {3, 4} & set(ids(index.search(b"p", vector(number), 60)))
        index.remove(b"p", range(60))
        self.settle(index)
        assert index.search(b"p", vector(3), 5) == []
        assert len(index) == 0

    def test_a_vector_of_another_dimension_is_an_invalid_request(self, index):
        with pytest.raises(InvalidRequest):
            index.add(b"p", 1, vector(1, DIMENSION + 1))
        assert len(index) == 0

    def test_a_vector_along_an_axis_is_found_exactly(self, index):
        for number, each in enumerate(np.eye(DIMENSION, dtype=np.float32)):
            index.add(b"p", number, each)
        for number, each in enumerate(np.eye(DIMENSION, dtype=np.float32)):
            assert index.search(b"p", each, 1)[0].id == number

    def test_searching_while_others_add_and_remove_finds_what_stays(self, index):
        for number in range(20):
            index.add(b"p", number, vector(number))
        problems, done = [], threading.Event()

        def search():
            while not done.is_set():
                for number in range(20):
                    found = index.search(b"p", vector(number), 1)
                    if ids(found) != [number]:
                        problems.append((number, found))

        def change(start):
            for number in range(start, start + 200):
                index.add(b"p", number, vector(number))
                if number % 3 == 0:
                    index.remove(b"p", [number])

        searching = threading.Thread(target=search)
        changing = [threading.Thread(target=change, args=(start,)) for start in (1000, 2000)]
        for thread in (searching, *changing):
            thread.start()
        for thread in changing:
            thread.join()
        done.set()
        searching.join()
        self.settle(index)
        assert problems == []
        stay = [number for start in (1000, 2000) for number in range(start, start + 200) if number % 3]
        assert len(index) == 20 + len(stay)
        assert [ids(index.search(b"p", vector(number), 1)) for number in stay] == [[number] for number in stay]
