"""The small model's answers teach who is asked next and what is shown, and nobody else's feedback does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import CorruptFrame
from semantic_cache.example import Example
from semantic_cache.in_context import InContext
from semantic_cache.query import Query
from semantic_cache.router import AlwaysLarge, Model
from tests.clock import Clock

QUERY = Query("How do I return a parcel?", tenant="ours")
QUESTIONS = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0, 1)), max_size=20)


def in_context(**more):
    return InContext(["code", "chat"], clock=Clock(1e9), **more)


def near(number=1, **more):
    return Example(number, QUERY.partition, "chat", f"asked {number}", f"answered {number}", 0.9, 60.0, 2.0, **more)


def planned(each, candidates=(), load=0.0):
    return each.plan(QUERY, "chat", candidates, load)


def small(plan, examples=True):
    return plan.asking(Model.SMALL, examples)


def test_a_plan_shows_what_was_near_and_nothing_of_another_partition():
    other = Example(2, Query("x", tenant="theirs").partition, "chat", "asked", "answered", 0.99, 1.0, 1.0)
    plan = small(planned(in_context(), [near(1), other]))
    assert [each.document_id for each in plan.shown] == [1]
    assert small(plan, examples=False).shown == ()
    assert plan.asking(Model.LARGE).shown == ()


def test_feedback_is_of_the_tenant_that_was_answered_and_counts_once():
    each = in_context()
    answer_id = each.remember(small(planned(each, [near()])), "ours")
    assert not each.feedback(answer_id, "theirs", True)
    assert not each.feedback("unknown", "ours", True)
    assert each.feedback(answer_id, "ours", True)
    assert not each.feedback(answer_id, "ours", True)
    assert each.num_lessons == 1


def test_what_did_harm_is_no_longer_shown_and_another_is():
    each = in_context()
    for _ in range(20):
        each.learn(small(planned(each, [near(1)])), 0.0)
        each.learn(small(planned(each, [near(2)])), 1.0)
        each.learn(small(planned(each), examples=False), 0.5)
    assert [shown.document_id for shown in planned(each, [near(1), near(2)]).selection.examples] == [2]


def test_what_is_shown_often_and_answers_badly_is_due_until_it_is_computed_again():
    each = in_context()
    for _ in range(5):
        each.learn(small(planned(each, [near(1)])), 0.0)
    assert each.due(10.0) == [1]
    each.replayed(1, 9)
    assert each.due(10.0) == []


def test_the_small_model_is_asked_where_it_is_good_and_not_where_it_is_bad():
    each = in_context()
    for _ in range(200):
        each.learn(small(each.plan(QUERY, "chat", [near()], 0.0)), 1.0)
        each.learn(small(each.plan(QUERY, "code", [near()], 0.0)), 0.0)
    assert each.plan(QUERY, "chat", [near()], 0.0).is_small
    assert not each.plan(QUERY, "code", [near()], 0.0).is_small


@given(QUESTIONS)
def test_what_was_learned_survives_json(questions):
    each, again = in_context(), in_context()
    for number, examples, quality in questions:
        each.learn(small(planned(each, [near(number)]), examples), quality)
    again.restore(json.loads(json.dumps(each.to_json())))
    assert again.to_json() == each.to_json()


@pytest.mark.parametrize("said", [None, [], {}, {"replay": {}}, {"replay": {}, "usefulness": {}, "router": {}}])
def test_damage_is_refused(said):
    with pytest.raises(CorruptFrame):
        in_context().restore(said)


def test_who_never_dares_asks_the_large_model():
    assert not planned(in_context(router=AlwaysLarge()), [near()], load=1.0).is_small
