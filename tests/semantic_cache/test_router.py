"""The small model answers where it is nearly sure to be good enough, and more of it under load."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import CorruptFrame, InvalidRequest
from semantic_cache.cautious_router import CautiousRouter
from semantic_cache.request import Request
from semantic_cache.router import AlwaysLarge, Choice, Features, Model, Prices
from tests.semantic_cache.contracts_router import LEARNED, RouterContract

CATEGORIES = ["code", "chat"]
CODE, CHAT = (Features(Request(name, 50), num_examples=2, cosine=0.9) for name in CATEGORIES)
SMALL, SHOWN, LARGE = (Model.SMALL, False), (Model.SMALL, True), (Model.LARGE, False)


class TestAlwaysLarge(RouterContract):
    def router(self, seed):
        return AlwaysLarge()


class TestCautiousRouter(RouterContract):
    def router(self, seed):
        return CautiousRouter(CATEGORIES)


def taught(quality, num_outcomes=300, features=CODE, router=None):
    """Every arm's outcomes are what `quality` says of it."""
    router = router or CautiousRouter(CATEGORIES)
    random = Random(1)
    for _ in range(num_outcomes):
        for (model, examples), chance in quality.items():
            router.learn(Choice(model, examples, features), float(random.random() < chance))
    return router


def chosen(router, features, load):
    choice = router.choose(features, load)
    return choice.model, choice.examples


def test_examples_are_shown_where_they_make_the_small_model_good():
    assert chosen(taught({SMALL: 0.2, SHOWN: 0.99, LARGE: 0.99}), CODE, 0.5) == SHOWN


def test_the_large_model_answers_where_examples_do_not_help():
    assert chosen(taught({SMALL: 0.2, SHOWN: 0.25, LARGE: 0.95}), CODE, 1.0) == LARGE


def test_a_small_loss_of_quality_is_taken_under_load_only():
    router = taught({SMALL: 0.5, SHOWN: 0.9, LARGE: 0.97}, num_outcomes=500)
    assert chosen(router, CODE, 0.0) == LARGE
    assert chosen(router, CODE, 1.0) == SHOWN


def test_a_few_good_answers_are_not_enough():
    router = taught({SMALL: 1.0, SHOWN: 1.0}, num_outcomes=10)
    assert chosen(router, CODE, 0.0) == LARGE
    assert chosen(taught({SMALL: 0.0, SHOWN: 1.0}, num_outcomes=300), CODE, 0.0) == SHOWN


def test_categories_are_told_apart():
    router = CautiousRouter(CATEGORIES)
    for _ in range(10):
        taught({SMALL: 0.1, SHOWN: 0.99, LARGE: 0.99}, num_outcomes=30, features=CODE, router=router)
        taught({SMALL: 0.1, SHOWN: 0.1, LARGE: 0.99}, num_outcomes=30, features=CHAT, router=router)
    assert chosen(router, CODE, 1.0) == SHOWN
    assert chosen(router, CHAT, 1.0) == LARGE


def test_a_model_that_turns_bad_is_left():
    router = taught({SMALL: 0.1, SHOWN: 0.99, LARGE: 0.95}, num_outcomes=500)
    taught({SMALL: 0.1, SHOWN: 0.0, LARGE: 0.95}, num_outcomes=60, router=router)
    assert chosen(router, CODE, 1.0) == LARGE


@pytest.mark.parametrize("load", [0.0, 1.0])
def test_nothing_is_known_at_first_but_that_the_large_model_is_good(load):
    assert chosen(CautiousRouter(CATEGORIES), CODE, load) == LARGE


@given(st.integers(0, 1000), LEARNED)
def test_what_was_learned_survives_json(seed, learned):
    router, again = TestCautiousRouter().taught(seed, learned), CautiousRouter(CATEGORIES)
    again.restore(json.loads(json.dumps(router.to_json())))
    assert again.expected(CODE) == router.expected(CODE)
    assert again.to_json() == router.to_json()


@pytest.mark.parametrize("said", [{}, [], {"small": {}}, {"small": 3}, None])
def test_what_is_no_state_of_a_router_is_refused_and_changes_nothing(said):
    router = taught({SMALL: 0.5, SHOWN: 0.9, LARGE: 0.9}, num_outcomes=5)
    before = router.to_json()
    with pytest.raises(CorruptFrame):
        router.restore(said)
    assert router.to_json() == before


def test_a_state_of_other_categories_is_refused():
    with pytest.raises(CorruptFrame, match="learned of"):
        CautiousRouter(["code", "legal"]).restore(CautiousRouter(CATEGORIES).to_json())


@pytest.mark.parametrize("prices", [{"large": 0.2, "large_loaded": 0.1}, {"examples": -0.1}, {"large": float("nan")}])
def test_prices_that_make_no_sense_are_refused(prices):
    with pytest.raises(InvalidRequest, match="prices"):
        Prices(**prices)
