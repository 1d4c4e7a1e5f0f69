"""Break-even: searching ends where its hits do not pay, and finds out when they would."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_cache.break_even import BreakEven


def run(balance, queries, hit, search_s=0.004, model_s=0.2, category="docs"):
    """How many of them were searched; `hit` says of the n-th one whether it would be a hit."""
    searched = 0
    for query in range(queries):
        if balance.worth_searching(category):
            searched += 1
            balance.searched(category, search_s, hit(query))
        if not hit(query):
            balance.computed(category, model_s)
    return searched


def one_in(n):
    return lambda query: query % n == 0


def never(query):
    return False


def test_the_hit_rate_that_is_needed_is_the_papers():
    balance = BreakEven()
    run(balance, 100, one_in(2), search_s=0.030, model_s=0.2)
    assert balance.balance("docs").needed == pytest.approx(0.15, rel=1e-3)
    run(balance, 100, one_in(2), search_s=0.002 + 0.5 * 0.005, model_s=0.2, category="hybrid")  # and half are fetched
    assert balance.balance("hybrid").needed == pytest.approx(0.0225, rel=1e-3)


def test_what_pays_is_searched_always():
    balance = BreakEven()
    assert run(balance, 3000, one_in(25)) == 3000
    assert balance.balance("docs").hit_rate == pytest.approx(0.04, abs=0.003)


def test_what_does_not_pay_is_searched_until_that_is_known_and_then_seldom():
    balance = BreakEven(probe_every=50)
    known_after = run(balance, 1000, never)
    assert known_after < 150, "about 2 / needed, and the probes since"
    assert run(balance, 5000, never) == 100
    assert not balance.balance("docs").pays


def test_a_category_whose_hits_come_back_is_searched_again():
    balance = BreakEven(probe_every=50)
    run(balance, 1000, never)
    assert run(balance, 1000, one_in(1)) > 800


def test_a_cheap_search_beside_a_slow_model_is_hardly_ever_given_up():
    balance = BreakEven()
    assert run(balance, 3000, never, search_s=0.002, model_s=2.0) > 1900


def test_a_model_as_fast_as_the_search_is_never_worth_a_search():
    balance = BreakEven()
    run(balance, 10, one_in(1), search_s=0.2, model_s=0.1)
    run(balance, 10, never, search_s=0.2, model_s=0.1)
    run(balance, 10, one_in(1), search_s=0.2, model_s=0.1)
    assert balance.balance("docs").needed == 2
    assert not balance.balance("docs").pays


def test_nothing_measured_is_searched():
    balance = BreakEven()
    assert all(balance.worth_searching("docs") for _ in range(1000))
    nothing = balance.balance("docs")
    assert math.isnan(nothing.hit_rate)
    assert math.isnan(nothing.needed)
    assert nothing.pays


def test_one_search_that_took_long_gives_nothing_up():
    balance = BreakEven()
    run(balance, 1, one_in(1), search_s=60.0)
    assert run(balance, 1000, one_in(20)) == 1000


def test_categories_are_apart():
    balance = BreakEven()
    run(balance, 1000, never)
    assert balance.balance("code").pays
    assert not balance.balance("docs").pays


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 10), st.floats(0, 10)), max_size=200), st.integers(1, 20))
def test_the_same_calls_decide_the_same_and_one_in_so_many_is_searched(calls, probe_every):
    decisions = []
    for _ in range(2):
        balance = BreakEven(probe_every)
        decisions.append([])
        for hit, search_s, model_s in calls:
            decisions[-1].append(balance.worth_searching("docs"))
            if decisions[-1][-1]:
                balance.searched("docs", search_s, hit)
            balance.computed("docs", model_s)
    assert decisions[0] == decisions[1]
    for start in range(len(calls) - probe_every + 1):
        assert any(decisions[0][start : start + probe_every])
