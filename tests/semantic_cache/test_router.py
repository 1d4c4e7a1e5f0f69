"""The small model answers where it is good enough, more of it under load, and nothing is ever given up for good."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import CorruptFrame, InvalidRequest
from semantic_cache.bandit import BanditRouter
from semantic_cache.request import Request
from semantic_cache.router import AlwaysLarge, Choice, Features, Model, Prices
from tests.semantic_cache.contracts_router import LEARNED, RouterContract

CATEGORIES = ["code", "chat"]
CODE, CHAT = (Features(Request(name, 50), num_examples=2, cosine=0.9) for name in CATEGORIES)
SMALL, SHOWN, LARGE = (Model.SMALL, False), (Model.SMALL, True), (Model.LARGE, False)


class TestAlwaysLarge(RouterContract):
    def router(self, seed):
        return AlwaysLarge()


class TestBanditRouter(RouterContract):
    def router(self, seed):
        return BanditRouter(CATEGORIES, Random(seed))


def taught(quality, num_outcomes=300, features=CODE, router=None):
    """Every arm's outcomes are what `quality` says of it."""
    router = router or BanditRouter(CATEGORIES, Random(0))
    chosen = Random(1)
    for _ in range(num_outcomes):
        for (model, examples), chance in quality.items():
            router.learn(Choice(model, examples, features), float(chosen.random() < chance))
    return router


def shares(router, features, load, num_requests=500):
    chosen = [router.choose(features, load) for _ in range(num_requests)]
    return {
        arm: sum((each.model, each.examples) == arm for each in chosen) / num_requests for arm in (SMALL, SHOWN, LARGE)
    }


@pytest.mark.parametrize("load", [0.0, 1.0])
@pytest.mark.parametrize("best", [SMALL, SHOWN, LARGE])
def test_every_arm_keeps_its_least_share_whatever_is_believed(best, load):
    router = BanditRouter(CATEGORIES, Random(0), least_share=0.05)
    taught({arm: float(arm == best) for arm in (SMALL, SHOWN, LARGE)}, router=router)
    assert min(shares(router, CODE, load, num_requests=2000).values()) > 0.03


def test_what_is_explored_by_lot_says_so():
    router = taught({SMALL: 0.0, SHOWN: 0.0, LARGE: 1.0}, router=BanditRouter(CATEGORIES, Random(0), least_share=0.1))
    chosen = [router.choose(CODE, 0.0) for _ in range(1000)]
    assert sum(each.explored for each in chosen) / 1000 == pytest.approx(0.3, abs=0.05)
    assert all(each.explored for each in chosen if each.model is Model.SMALL)


def test_examples_are_shown_where_they_make_the_small_model_good():
    assert shares(taught({SMALL: 0.2, SHOWN: 0.95, LARGE: 0.95}), CODE, 0.5)[SHOWN] > 0.9


def test_the_large_model_answers_where_examples_do_not_help():
    assert shares(taught({SMALL: 0.2, SHOWN: 0.25, LARGE: 0.95}), CODE, 1.0)[LARGE] > 0.9


def test_a_small_loss_of_quality_is_taken_under_load_only():
    router = taught({SMALL: 0.5, SHOWN: 0.87, LARGE: 0.95}, num_outcomes=500)
    assert shares(router, CODE, 0.0)[LARGE] > 0.7
    assert shares(router, CODE, 1.0)[LARGE] < 0.3


def test_categories_are_told_apart():
    router = BanditRouter(CATEGORIES, Random(0))
    for _ in range(10):
        taught({SMALL: 0.1, SHOWN: 0.95, LARGE: 0.95}, num_outcomes=30, features=CODE, router=router)
        taught({SMALL: 0.1, SHOWN: 0.1, LARGE: 0.95}, num_outcomes=30, features=CHAT, router=router)
    assert shares(router, CODE, 1.0)[SHOWN] > 0.8
    assert shares(router, CHAT, 0.3)[LARGE] > 0.8


def test_a_model_that_turns_bad_is_left():
    router = taught({SMALL: 0.1, SHOWN: 0.95, LARGE: 0.9}, num_outcomes=500)
    taught({SMALL: 0.1, SHOWN: 0.0, LARGE: 0.9}, num_outcomes=60, router=router)
    assert shares(router, CODE, 0.0)[LARGE] > 0.8


def test_nothing_is_known_at_first_but_that_the_large_model_is_good():
    assert shares(BanditRouter(CATEGORIES, Random(0)), CODE, 0.0)[LARGE] > 0.5


@given(st.integers(0, 1000), LEARNED)
def test_what_was_learned_survives_json(seed, learned):
    router, again = TestBanditRouter().taught(seed, learned), BanditRouter(CATEGORIES, Random(seed))
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
        BanditRouter(["code", "legal"], Random(0)).restore(BanditRouter(CATEGORIES, Random(0)).to_json())


@pytest.mark.parametrize("prices", [{"large": 0.2, "large_loaded": 0.1}, {"examples": -0.1}, {"large": float("nan")}])
def test_prices_that_make_no_sense_are_refused(prices):
    with pytest.raises(InvalidRequest, match="prices"):
        Prices(**prices)


@pytest.mark.parametrize("share", [-0.01, 0.34, float("nan")])
def test_least_shares_that_do_not_fit_are_refused(share):
    with pytest.raises(InvalidRequest, match="least_share"):
        BanditRouter(CATEGORIES, Random(0), least_share=share)
