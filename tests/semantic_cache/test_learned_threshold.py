"""What is served is as right as was promised, is learned from nothing else than labels, and stops when it is not."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.errors import InvalidRequest
from semantic_cache.certifier import Choice, Ruling
from semantic_cache.error_budget import ErrorBudget
from semantic_cache.learned_threshold import LearnedThreshold
from semantic_cache.score_bins import bin_of, lowest_score
from tests.semantic_cache.contracts_certifier import CertifierContract


def certifier(seed=0, **settings):
    return LearnedThreshold(ErrorBudget(random=random.Random(seed).random, **settings))


def taught(right=1000, score=0.9, seed=0):
    """That has seen so many right ones."""
    result = certifier(seed)
    for _ in range(right):
        result.calibrate(score, True)
    return result


class TestLearnedThreshold(CertifierContract):
    def make_certifier(self, seed):
        return certifier(seed)


@pytest.mark.parametrize("settings", [{"max_wrong": 0}, {"max_wrong": 1}, {"confidence": 1}, {"explore": 0}])
def test_shares_that_are_none_are_refused(settings):
    with pytest.raises(InvalidRequest, match="between 0 and 1"):
        ErrorBudget(**settings)


@given(st.floats(0, 1))
def test_a_score_lies_in_its_bin(score):
    index = bin_of(score)
    assert lowest_score(index) <= score + 1e-12
    if index:
        assert score <= lowest_score(index - 1) + 1e-12


def test_too_few_labels_serve_nothing_and_enough_do():
    assert taught(300).certified.threshold == math.inf
    served = taught(600).certified
    assert served.threshold <= 0.9
    assert served.wrong == 0
    assert 0 < served.wrong_at_most <= 0.01


def test_exact_answers_are_part_of_what_is_served():
    few = certifier()
    for _ in range(120):
        few.calibrate(0.9, True)
        for _ in range(4):
            few.count_exact()
    certified = few.certified
    assert certified.threshold <= 0.9
    assert certified.wrong_at_most <= 0.01
    assert taught(120).certified.threshold == math.inf


def test_a_wrong_one_found_stops_serving_at_once_and_many_right_ones_undo_it():
    learned = taught(1000)
    learned.observe(0.9, False, Ruling(Choice.EXPLORE, 0.1))
    assert learned.certified.threshold == math.inf
    assert all(learned.choose(0.9).choice is Choice.EXPLORE for _ in range(20))
    for _ in range(200):
        learned.observe(0.9, True, Ruling(Choice.EXPLORE, 1.0))
    assert learned.certified.threshold <= 0.9
    assert Choice.SERVE in [learned.choose(0.9).choice for _ in range(50)]


def test_one_complaint_about_what_was_served_stops_serving_at_once():
    learned = taught(1000)
    learned.observe(0.9, False, Ruling(Choice.SERVE, 0.1))
    assert learned.choose(0.9).choice is Choice.EXPLORE


def test_several_wrong_ones_in_a_row_have_it_all_learned_anew():
    learned = taught(1000)
    for _ in range(4):
        learned.observe(0.9, False, Ruling(Choice.EXPLORE, 0.1))
    for _ in range(300):
        learned.observe(0.9, True, Ruling(Choice.EXPLORE, 1.0))
    assert learned.certified.threshold == math.inf


def test_praise_of_what_was_served_teaches_nothing():
    learned = taught(300)
    for _ in range(10_000):
        learned.observe(0.9, True, Ruling(Choice.SERVE, 0.1))
    assert learned.certified.threshold == math.inf
    assert learned.certified.observed == 300


def test_a_share_of_what_is_served_is_checked_for_ever():
    learned = taught(1000, seed=3)
    choices = []
    for _ in range(60_000):
        ruling = learned.choose(0.9)
        choices.append(ruling.choice)
        if ruling.choice is Choice.CHECK:
            assert ruling.chance >= 0.02
            learned.observe(0.9, True, ruling)
    assert set(choices) == {Choice.SERVE, Choice.CHECK}
    assert choices[-10_000:].count(Choice.CHECK) / 10_000 == pytest.approx(0.02, abs=0.005)
    assert choices[:1000].count(Choice.CHECK) > 200


def test_scores_below_those_that_are_safe_are_not_served():
    learned, chosen = certifier(), random.Random(4)
    for _ in range(4000):
        score = chosen.uniform(0.5, 1)
        learned.calibrate(score, score > 0.8 or chosen.random() < 0.3)
    assert 0.79 <= learned.certified.threshold <= 0.9
    assert learned.choose(0.7).choice is not Choice.SERVE


def test_a_category_too_uncertain_for_its_own_budget_is_served_from_a_shared_one():
    def teach(category, one_wrong_of, exact):
        for label in range(1000):
            category.calibrate(0.9, label % one_wrong_of != 0)
            for _ in range(exact):
                category.count_exact()

    alone = certifier()
    teach(alone, 33, 0)
    assert alone.certified.threshold == math.inf
    budget = ErrorBudget()
    uncertain, safe = LearnedThreshold(budget, "uncertain"), LearnedThreshold(budget, "safe")
    hopeless = LearnedThreshold(budget, "hopeless")
    teach(safe, 2000, 8)
    teach(uncertain, 33, 0)
    teach(hopeless, 2, 0)
    assert safe.certified.threshold <= 0.9
    assert uncertain.certified.threshold <= 0.9
    assert uncertain.certified.semantic_wrong == pytest.approx(0.03, abs=0.002)
    assert hopeless.certified.threshold == math.inf


def test_what_is_vouched_for_is_served_until_it_was_wrong():
    learned = LearnedThreshold(ErrorBudget(random=lambda: 0.6))
    assert learned.certified.trusting
    assert learned.choose(0.7, vouched=True).choice is Choice.SERVE
    assert learned.choose(0.9).choice is not Choice.SERVE
    learned.observe(0.9, False, Ruling(Choice.EXPLORE, 1.0))
    served = learned.choose(0.9, vouched=True)
    assert served == Ruling(Choice.SERVE, 0.5, on_trust=True)
    learned.observe(0.9, False, served)
    assert learned.choose(0.95, vouched=True).choice is not Choice.SERVE
    assert not learned.certified.trusting
    assert learned.certified.threshold == math.inf


def test_every_other_one_that_is_served_on_trust_is_checked():
    draws = iter([0.49, 0.51])
    learned = LearnedThreshold(ErrorBudget(random=lambda: next(draws)))
    assert learned.choose(0.9, vouched=True) == Ruling(Choice.CHECK, 0.5, on_trust=True)
    assert learned.choose(0.9, vouched=True) == Ruling(Choice.SERVE, 0.5, on_trust=True)


def test_what_is_proved_needs_nobody_to_vouch_for_it():
    learned = taught()
    rulings = [learned.choose(0.9, vouched=True) for _ in range(50)]
    assert Choice.SERVE in [ruling.choice for ruling in rulings]
    assert not any(ruling.on_trust for ruling in rulings)


def test_what_one_category_lost_is_lost_to_the_trust_of_others():
    budget = ErrorBudget(random=lambda: 0.1)
    one, other = (LearnedThreshold(budget, name) for name in "ab")
    one.observe(0.9, False, one.choose(0.9, vouched=True))
    assert not one.certified.trusting
    assert not other.certified.trusting


def test_strict_categories_never_trust_beyond_their_budget():
    assert not LearnedThreshold(ErrorBudget(max_wrong=0.002)).certified.trusting
