"""What every Documents keeps to."""

import math
import threading
from dataclasses import replace

import numpy as np
import pytest

from kvstore.errors import InvalidRequest
from tests.semantic_cache.made_up import document, vector


class DocumentsContract:
    """Say how to make them with `make_documents(tmp_path)`."""

    @pytest.fixture
    def documents(self, tmp_path):
        made = self.make_documents(tmp_path)
        yield made
        self.end(made)

    def end(self, documents):
        """Whatever they need."""

    def test_what_was_put_is_found_by_its_key_and_comes_back(self, documents):
        put = document("why?", b"because", tenant="alice", expires_at_s=9.0)
        held = documents.put(put, vector(1))
        assert documents.find(put.query.exact_key) == held.id
        assert documents.get(held.id) == put
        assert (held.partition, held.exact_key) == (put.query.partition, put.query.exact_key)
        assert (held.category, held.tenant, held.saved_at_s, held.expires_at_s, held.compute_s) == (
            "general", "alice", 1.5, 9.0, 2.5,
        )  # fmt: skip
        assert held.size_bytes >= len(b"because")
        assert list(documents.held()) == [held]

    def test_what_is_not_held_is_none(self, documents):
        assert documents.get(0) is None
        assert documents.get(-1) is None
        assert documents.get(2**70) is None
        assert documents.find(bytes(32)) is None
        assert documents.delete([0, 1, -1, 2**70]) == 0
        assert list(documents.held()) == list(documents.vectors()) == documents.expired(math.inf) == []

    def test_the_last_put_of_a_key_takes_the_place_of_the_one_before(self, documents):
        first = documents.put(document("same", b"1"), vector(1))
        second = documents.put(document("same", b"2"), vector(2))
        assert second.id > first.id
        assert documents.find(first.exact_key) == second.id
        assert documents.get(first.id) is None
        assert [held.id for held in documents.held()] == [second.id]
        assert [held.id for held, _ in documents.vectors()] == [second.id]

    def test_what_is_deleted_leaves_nothing_and_its_id_is_not_given_again(self, documents):
        ids = [documents.put(document(str(number), expires_at_s=5.0), vector(number)).id for number in range(3)]
        assert documents.delete([ids[2], ids[0], ids[0]]) == 2
        assert documents.delete([ids[2]]) == 0
        assert documents.get(ids[2]) is documents.find(document("2").query.exact_key) is None
        assert [held.id for held in documents.held()] == [held.id for held, _ in documents.vectors()] == [ids[1]]
        assert [held.id for held in documents.expired(5.0)] == [ids[1]]
        assert documents.put(document("3"), None).id > ids[2]

    def test_what_expires_is_listed_the_longest_first(self, documents):
        times = [7.0, math.inf, -3.0, 0.0, 1e300, 7.5, -0.0]
        held = [documents.put(document(str(number), expires_at_s=at_s), None) for number, at_s in enumerate(times)]
        assert [times.index(each.expires_at_s) for each in documents.expired(7.0)] == [2, 3, 3, 0]
        assert documents.expired(-4.0) == []
        assert len(documents.expired(1e301)) == 6
        assert documents.expired(-3.0) == [held[2]]

    def test_vectors_are_of_those_that_have_one(self, documents):
        with_one = documents.put(document("a"), vector(1))
        documents.put(document("b"), None)
        ((held, kept),) = documents.vectors()
        assert held == with_one
        assert kept.dtype == np.float32
        assert np.abs(kept - vector(1)).max() < 0.01

    @pytest.mark.parametrize("times", [{"expires_at_s": math.nan}, {"saved_at_s": math.nan}, {"compute_s": math.inf}])
    def test_a_time_that_is_no_number_is_an_invalid_request(self, documents, times):
        with pytest.raises(InvalidRequest):
            documents.put(replace(document("a"), **times), None)
        assert list(documents.held()) == []

    def test_many_threads_may_put_and_read(self, documents):
        problems = []

        def use(thread):
            for number in range(20):
                put = document(f"{number % 7}", f"{thread} {number}".encode(), tenant=str(thread % 2))
                held = documents.put(put, vector(number))
                found = documents.find(held.exact_key)
                got = None if found is None else documents.get(found)
                if got is not None and got.query != put.query:
                    problems.append(got)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        held = list(documents.held())
        assert len(held) == 14
        assert [documents.find(each.exact_key) for each in held] == [each.id for each in held]
