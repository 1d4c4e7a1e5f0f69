"""Answers against two dicts, by hypothesis: whatever happens to them, documents and index agree with both."""

import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from semantic_cache import answers as answers_module
from semantic_cache.answers import open_answers
from tests.kvstore.children import answer
from tests.semantic_cache.made_up import DIMENSION, document, vector

HNSW = answers_module.HnswIndex
numbers, tenants = st.integers(0, 25), st.sampled_from(["alice", "bob"])


def small(*all_of, **named):
    """With graphs from six vectors on."""
    return HNSW(*all_of, **named, most_flat=6, most_waiting=3)


class AnswersAgainstDicts(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.documents, self.vectors = {}, {}  # by id: the document, and its partition and vector
        self.used, self.answers, answers_module.HnswIndex = set(), None, small

    @initialize()
    def open(self):
        self.answers = open_answers(self.path, "an embedder", DIMENSION)

    @rule(number=numbers, tenant=tenants, again=st.integers(0, 3), with_vector=st.booleans())
    def put(self, number, tenant, again, with_vector):
        made = document(
            str(number), f"{number} {again}".encode(), tenant, expires_at_s=[math.inf, 5.0, 7.0, -1.0][again]
        )
        held = put(self.answers, made, vector(number) if with_vector else None)
        self.remember(held, made, number if with_vector else None)

    def remember(self, held, made, number):
        assert held.id not in self.used
        self.used.add(held.id)
        for replaced in [each for each, there in self.documents.items() if there.query == made.query]:
            self.forget(replaced)
        self.documents[held.id] = made
        if number is not None:
            self.vectors[held.id] = held.partition, number

    def forget(self, document_id):
        del self.documents[document_id]
        self.vectors.pop(document_id, None)

    @rule(place=st.integers(0, 100))
    def delete(self, place):
        if self.documents:
            gone = sorted(self.documents)[place % len(self.documents)]
            drop(self.answers, [gone], self.documents[gone].query.partition)
            self.forget(gone)

    @rule(now_s=st.sampled_from([-2.0, 0.0, 6.0, 7.0]))
    def expire(self, now_s):
        expired = self.answers.documents.expired(now_s)
        assert {each.id for each in expired} == {
            each for each, there in self.documents.items() if there.expires_at_s <= now_s
        }
        for each in expired:
            drop(self.answers, [each.id], each.partition)
            self.forget(each.id)

    @rule()
    def wait(self):
        assert self.answers.settled(60)

    @rule()
    def reopen(self):
        self.answers.close()
        self.open()

    @rule(number=numbers, tenant=tenants, how=st.sampled_from(["document", "deletion"]))
    def be_killed_between_the_two(self, number, tenant, how):
        """What one process did to the documents alone."""
        self.answers.close()
        made = document(str(number), tenant=tenant)
        found = answer(half, self.path, made, vector(number), how)
        if how == "document":
            self.remember(found, made, number)
        elif found is not None:
            self.forget(found)
        self.open()

    @rule(place=st.floats(0, 0.999), bit=st.integers(0, 7))
    def flip_a_bit_of_the_index(self, place, bit):
        self.answers.close()
        content = bytearray((self.path / "index").read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        (self.path / "index").write_bytes(content)
        self.open()

    @rule(number=numbers, tenant=tenants)
    def search(self, number, tenant):
        partition = document("", tenant=tenant).query.partition
        expected = {each for each, (there, _) in self.vectors.items() if there == partition}
        found = self.answers.index.search(partition, vector(number), 30)
        assert {each.id for each in found} <= expected
        assert len({each.id for each in found}) == len(found)
        for each in found:
            assert abs(each.cosine - vector(number) @ vector(self.vectors[each.id][1])) < 0.05

    @invariant()
    def documents_are_those_of_the_dict(self):
        if self.answers:
            documents = self.answers.documents
            assert [held.id for held in documents.held()] == sorted(self.documents)
            for each, made in self.documents.items():
                assert documents.get(each) == made
                assert documents.find(made.query.exact_key) == each
            assert documents.ids_with_vector().tolist() == sorted(self.vectors)
            assert documents.num_damaged == 0

    @invariant()
    def the_index_holds_the_vectors_of_the_dict(self):
        if self.answers:
            assert len(self.answers.index) == len(self.vectors)
            assert self.answers.settled(60)
            ids = [each.ids() for each in self.answers.index.contents()]
            assert sorted(np.concatenate([np.empty(0), *ids])) == sorted(self.vectors)

    def teardown(self):
        answers_module.HnswIndex = HNSW
        if self.answers:
            self.answers.close()
        shutil.rmtree(self.path)


def put(answers, made, its_vector):
    replaced = answers.documents.find(made.query.exact_key)
    held = answers.documents.put(made, its_vector)
    if replaced is not None:
        answers.index.remove(held.partition, [replaced])
    if its_vector is not None:
        answers.index.add(held.partition, held.id, its_vector)
    return held


def drop(answers, ids, partition):
    assert answers.documents.delete(ids) == len(ids)
    answers.index.remove(partition, ids)


def half(path, made, its_vector, how):
    """Opens the directory, changes the documents, and ends without closing it."""
    answers = open_answers(path, "an embedder", DIMENSION)
    if how == "document":
        return answers.documents.put(made, its_vector)
    found = answers.documents.find(made.query.exact_key)
    return found if found is not None and answers.documents.delete([found]) else None


AnswersAgainstDicts.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestAnswersAgainstDicts = AnswersAgainstDicts.TestCase
