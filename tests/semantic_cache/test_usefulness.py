"""What examples are worth is expected within bounds, and kept."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import CorruptFrame, InvalidRequest
from semantic_cache.request import Request
from semantic_cache.usefulness import Usefulness
from tests.semantic_cache.test_examples import EXAMPLES, LEARNED, REQUEST, example


def taught(learned):
    usefulness = Usefulness(["code", "chat"])
    for shown, quality in learned:
        usefulness.learn(REQUEST, shown, quality)
    return usefulness


@given(LEARNED, st.lists(EXAMPLES, max_size=4))
def test_expected_quality_is_one_and_does_not_go_by_the_order_of_unlike_examples(learned, shown):
    usefulness = taught(learned)
    expected = usefulness.expected(REQUEST, shown)
    assert 0 <= expected <= 1
    if len({each.cosine for each in shown}) == len(shown):
        assert usefulness.expected(REQUEST, shown[::-1]) == pytest.approx(expected)


def test_each_further_example_is_expected_to_add_less():
    usefulness = Usefulness(["code", "chat"])
    expected = [usefulness.expected(REQUEST, [example(i) for i in range(shown)]) for shown in range(4)]
    added = [after - before for before, after in pairwise(expected)]
    assert added == sorted(added, reverse=True)
    assert added[-1] > 0


def test_a_category_that_is_not_named_is_like_any():
    usefulness = taught([([], 1.0)] * 50)
    assert 0.5 < usefulness.expected(Request("never heard of", 40), []) < usefulness.expected(REQUEST, [])


@given(LEARNED)
def test_what_was_learned_survives_json(learned):
    usefulness, again = taught(learned), Usefulness(["code", "chat"])
    again.restore(json.loads(json.dumps(usefulness.to_json())))
    assert again.expected(REQUEST, [example()]) == usefulness.expected(REQUEST, [example()])


def test_a_state_of_other_categories_is_refused():
    with pytest.raises(CorruptFrame, match="learned of"):
        Usefulness(["code"]).restore(Usefulness(["code", "chat"]).to_json())


def test_a_quality_that_is_none_is_refused():
    with pytest.raises(InvalidRequest, match="quality"):
        Usefulness([]).learn(REQUEST, [], 2.0)
