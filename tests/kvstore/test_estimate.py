"""An estimate converges to what is measured, whatever the mix, and one outlier hardly moves it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.estimate import Estimate

RATES = st.floats(1e-6, 1e3)


def test_nothing_is_said_before_three_measurements():
    estimate = Estimate()
    for _ in range(2):
        estimate.observe((1.0, 10), 5.0)
        assert estimate.rates == ()
        assert estimate.seconds((1.0, 10)) == 0
    estimate.observe((1.0, 10), 5.0)
    assert estimate.seconds((1.0, 10)) == pytest.approx(5.0)


@given(RATES, RATES, st.integers(0, 100))
def test_measurements_of_several_sizes_give_the_rates(fixed, each, seed):
    estimate, chosen = Estimate(), random.Random(seed)
    scale = fixed / each  # sizes at which both terms matter
    for _ in range(300):
        amount = scale * chosen.choice([0.1, 1, 10])
        estimate.observe((1.0, amount), (fixed + each * amount) * chosen.uniform(0.98, 1.02))
    for amount in (0.1 * scale, scale, 5 * scale):
        assert estimate.seconds((1.0, amount)) == pytest.approx(fixed + each * amount, rel=0.1)


@given(st.floats(1e-3, 1e3))
def test_one_outlier_changes_little(factor):
    estimate = Estimate()
    for _ in range(5):
        estimate.observe((1.0, 100), 2.0)
    for seconds in (2.0 * factor, 2.0, 2.0):
        estimate.observe((1.0, 100), seconds)
        assert estimate.seconds((1.0, 100)) == pytest.approx(2.0, rel=0.16)


@pytest.mark.parametrize("factor", [0.1, 10])
def test_what_lasts_is_followed_within_a_dozen(factor):
    estimate = Estimate()
    for _ in range(50):
        estimate.observe((100,), 1.0)
    for _ in range(12):
        estimate.observe((100,), factor)
    assert estimate.seconds((100,)) == pytest.approx(factor, rel=0.2)


def test_many_short_ones_do_not_make_it_forget_what_long_ones_take():
    estimate = Estimate()
    for _ in range(40):
        for amount in (10, 1000):
            estimate.observe((1.0, amount), 0.1 + 0.01 * amount)
    for _ in range(500):
        estimate.observe((1.0, 10), 0.2)
    assert estimate.seconds((1.0, 1000)) == pytest.approx(10.1, rel=0.1)


@given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(0, 1e3)), min_size=3, max_size=60))
def test_it_is_never_negative_and_always_finite(measured):
    estimate = Estimate()
    for amount, seconds in measured:
        estimate.observe((1.0, amount), seconds)
    assert all(0 <= rate < float("inf") for rate in estimate.rates)
