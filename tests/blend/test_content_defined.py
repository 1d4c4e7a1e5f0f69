"""Cuts follow the text: the same passage is cut alike wherever it stands."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from blend.content_defined import LEAST, MOST, content_defined


def text(seed, length):
    return np.random.default_rng(seed).integers(0, 50_000, length).tolist()


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(0, 3000), st.integers(0, 1000))
def test_parts_follow_each_other_within_limits(seed, length, start):
    tokens = text(seed, length)
    parts = content_defined(tokens, start)
    assert [begin for begin, _ in parts] == [start, *(end for _, end in parts)][: len(parts)]
    assert all(LEAST <= end - begin <= MOST for begin, end in parts)
    assert not parts or parts[-1][1] <= length


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(0, 900), st.integers(0, 900))
def test_a_shared_passage_shares_its_parts(seed, before, other):
    passage = text(seed, 4000)
    first, second = ([*text(seed + by, length), *passage] for by, length in ((1, before), (2, other)))
    parts = [{tuple(tokens[begin:end]) for begin, end in content_defined(tokens)} for tokens in (first, second)]
    shared = sum(len(part) for part in parts[0] & parts[1])
    assert shared >= len(passage) - 5 * MOST


def test_one_token_repeated_is_cut_at_a_limit():
    parts = content_defined([5] * 1200)
    assert {end - begin for begin, end in parts} in ({LEAST}, {MOST})
    assert parts[-1][1] > 1200 - MOST


def test_too_few_tokens_are_no_part():
    assert content_defined([]) == content_defined([1, 2, 3]) == []
