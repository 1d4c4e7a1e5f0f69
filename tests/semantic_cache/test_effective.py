"""What load does to a category: never more than its bounds, never to what is barred."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import InvalidRequest
from semantic_cache.category import Category, Mode
from semantic_cache.effective import Effective, effective
from semantic_cache.shipped import SHIPPED

share = st.floats(0, 1)
categories = st.builds(
    Category,
    name=st.just("any"),
    allowed=st.booleans(),
    mode=st.sampled_from(Mode),
    floor=share,
    floor_drop=share,
    least_floor=share,
    ttl_s=st.floats(0, 1e10) | st.just(math.inf),
    ttl_stretch=st.floats(1, 1000),
    max_wrong=st.floats(0, 0.5),
)
any_load = st.floats(allow_nan=True, allow_infinity=True)


@given(categories, any_load)
def test_nothing_moves_beyond_its_bounds(category, load):
    now = effective(category, load)
    if not category.allowed:
        assert now == Effective(math.inf, 0.0)
    else:
        assert category.ttl_s <= now.ttl_s <= category.kept_s * (1 + 1e-12)
        if category.mode is Mode.EXACT:
            assert now.floor == math.inf
        else:
            lowest = min(category.floor, max(category.floor - category.floor_drop, category.least_floor))
            assert lowest <= now.floor <= category.floor


@given(categories, share, share)
def test_more_load_never_tightens(category, one, other):
    less, more = (effective(category, load) for load in sorted((one, other)))
    assert more.floor <= less.floor
    assert more.ttl_s >= less.ttl_s


@given(categories, st.floats(max_value=0) | st.just(math.nan))
def test_without_load_a_category_is_as_it_says(category, load):
    now = effective(replace(category, allowed=True, mode=Mode.SEMANTIC), load)
    assert (now.floor, now.ttl_s) == (category.floor, category.ttl_s)


@given(categories, st.floats(0, 1e10), st.floats(0, 1e10), st.floats(0, 1e10), share)
def test_nothing_is_fresh_that_is_barred_expired_or_from_the_future(category, saved_at_s, expires_at_s, now_s, load):
    now = effective(category, load)
    if now.is_fresh(saved_at_s, expires_at_s, now_s):
        assert category.allowed
        assert saved_at_s <= now_s < expires_at_s
        assert now_s - saved_at_s < now.ttl_s


def test_an_answer_that_is_too_old_is_fresh_again_under_load():
    category = Category("docs", ttl_s=100, ttl_stretch=3)
    kept_until_s = 1000 + category.kept_s
    assert not effective(category, 0).is_fresh(1000, kept_until_s, 1150)
    assert effective(category, 0.5).is_fresh(1000, kept_until_s, 1150)
    assert not effective(category, 1).is_fresh(1000, kept_until_s, 1300)
    assert not effective(category, 1).is_fresh(1000, 1120, 1150), "an answer may expire sooner than its category says"


def test_full_load_lowers_the_floor_to_the_bound_that_comes_first():
    assert effective(Category("a", floor=0.9, floor_drop=0.1), 0.5).floor == pytest.approx(0.85)
    assert effective(Category("a", floor=0.9, floor_drop=0.1, least_floor=0.87), 0.5).floor == 0.87
    assert effective(Category("a", floor=0.6, floor_drop=0.1, least_floor=0.87), 1.0).floor == 0.6


def test_load_does_not_lower_the_floor_where_wrong_answers_do_harm():
    for category in SHIPPED:
        if category.name in ("medical", "legal", "default"):
            assert effective(category, 1).floor == category.floor
            assert category.kept_s == category.ttl_s


@pytest.mark.parametrize(
    "values",
    [
        {"name": "Über"},
        {"name": "a" * 65},
        {"name": ""},
        {"floor": 1.01},
        {"floor": math.nan},
        {"floor_drop": -0.1},
        {"least_floor": 2},
        {"ttl_s": -1},
        {"ttl_s": math.nan},
        {"ttl_stretch": 0.5},
        {"ttl_stretch": math.inf},
        {"quota": 1.5},
        {"max_wrong": 0.6},
    ],
)
def test_a_value_that_is_not_allowed_is_named(values):
    with pytest.raises(InvalidRequest, match="allowed") as raised:
        Category(**{"name": "any", **values})
    assert repr(next(iter(values.values()))) in str(raised.value)
