"""Quotas: what is held by category, and that the least of it goes when that is too much."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_cache.documents import Held
from semantic_cache.quota import Holding, Quotas

DAY_S = 86400.0


def held(document_id, category="docs", size_bytes=100, compute_s=1.0, saved_at_s=0.0, expires_at_s=math.inf):
    return Held(document_id, b"", b"", category, "", saved_at_s, expires_at_s, compute_s, size_bytes)


def quotas(entries=1000, size_bytes=1 << 30, **shares):
    generator = np.random.default_rng(0)
    return Quotas(entries, size_bytes, lambda name: shares.get(name, 1.0), generator)


def test_nothing_goes_while_there_is_room():
    some = quotas(entries=10, docs=0.5)
    for document_id in range(5):
        some.added(held(document_id))
    assert some.excess(DAY_S) == []
    assert some.holding("docs") == Holding(5, 500, 0.0, 0.0)
    assert some.holding("code") == Holding(0, 0, None, None)


def test_a_category_that_is_full_gives_way_itself():
    some = quotas(entries=10, docs=0.5)
    for document_id in range(4):
        some.added(held(document_id, "code"))
    for document_id in range(10, 18):
        some.added(held(document_id, "docs", saved_at_s=document_id))
    assert some.excess(DAY_S) == [10, 11, 12]
    assert some.holding("code").entries == 4


def test_bytes_count_as_entries_do():
    some = quotas(size_bytes=1000, docs=0.5)
    for document_id in range(6):
        some.added(held(document_id, saved_at_s=document_id))
    assert some.excess(DAY_S) == [0]
    assert some.holding("docs") == Holding(5, 500, 1.0, 5.0)


def test_an_answer_larger_than_the_quota_goes_itself():
    some = quotas(size_bytes=1000, docs=0.1)
    some.added(held(1, size_bytes=101))
    assert some.excess(DAY_S) == [1]


def test_where_all_are_within_their_quotas_the_fullest_gives_way():
    some = quotas(entries=10, docs=1.0, code=0.6)
    for document_id in range(6):
        some.added(held(document_id, "docs"))
    for document_id in range(10, 15):
        some.added(held(document_id, "code", saved_at_s=document_id))
    assert some.excess(DAY_S) == [10]


def test_a_category_without_a_quota_holds_nothing():
    some = quotas(docs=0.0)
    some.added(held(1))
    assert some.excess(DAY_S) == [1]


@pytest.mark.parametrize(
    "lesser",
    [
        {"compute_s": 0.1},
        {"size_bytes": 10_000},
        {"expires_at_s": DAY_S + 60},
        {"expires_at_s": 10.0},
        {"saved_at_s": -30 * DAY_S},
    ],
)
def test_what_is_worth_least_goes(lesser):
    some = quotas(entries=9)
    for document_id in range(10):
        some.added(held(document_id, **(lesser if document_id == 4 else {})))
    assert some.excess(DAY_S) == [4]


def test_what_is_used_stays():
    some = quotas(entries=5)
    for document_id in range(10):
        some.added(held(document_id))
    for document_id in (1, 3, 5, 7, 9):
        some.hit("docs", document_id)
    assert sorted(some.excess(DAY_S)) == [0, 2, 4, 6, 8]


def test_what_is_not_held_is_ignored():
    some = quotas()
    some.hit("docs", 1)
    some.gone("docs", [1])
    some.added(held(1))
    some.added(held(1))
    some.hit("docs", 2)
    some.gone("docs", [2, 1, 1])
    assert some.holding("docs") == Holding(0, 0, None, None)


def test_a_large_category_is_sampled():
    some = quotas(entries=5000)
    for document_id in range(5100):
        some.added(held(document_id, compute_s=1.0 if document_id < 5000 else 0.001))
    gone = some.excess(DAY_S)
    assert len(gone) == 100
    assert sum(document_id >= 5000 for document_id in gone) > 40, "of 64 that are picked one is often among the hundred"


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "hit", "gone", "excess"]), st.integers(0, 30), st.sampled_from(["a", "b"])),
        max_size=80,
    )
)
def test_it_agrees_with_a_dict(steps):
    some, model = quotas(entries=12, a=0.5, b=0.8), {}
    for step, document_id, category in steps:
        document_id = document_id * 2 + (category == "a")
        if step == "add":
            model.setdefault(document_id, category)
            some.added(held(document_id, category, size_bytes=document_id + 1, saved_at_s=document_id))
        elif step == "hit":
            some.hit(category, document_id)
        elif step == "gone":
            model.pop(document_id, None)
            some.gone(category, [document_id])
        else:
            for gone in some.excess(DAY_S):
                del model[gone]
            assert sum(name == "a" for name in model.values()) <= 6
            assert sum(name == "b" for name in model.values()) <= 9
            assert len(model) <= 12
        for name in "ab":
            ids = [document_id for document_id, of in model.items() if of == name]
            expected = (len(ids), sum(ids) + len(ids), min(ids, default=None), max(ids, default=None))
            holding = some.holding(name)
            assert (holding.entries, holding.size_bytes, holding.oldest_at_s, holding.newest_at_s) == expected
