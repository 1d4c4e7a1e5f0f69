"""Emphasis: tokens are told apart by what depends on them, as far as their own numbers show it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codec.emphasis import CLASSES, MOST, Emphasis, EmphasisFit, step_factors

DEVIATIONS = np.array([4, 0.5, 8, 1, 2], np.float32)


def tokens(num_tokens, seed=0):
    return np.random.default_rng(seed).standard_normal((num_tokens, 5)).astype(np.float32) * DEVIATIONS


def fitted(energy_of, num_tokens=4000):
    fit = EmphasisFit(5)
    for seed in range(2):
        z = tokens(num_tokens, seed)
        fit.add(z, DEVIATIONS, energy_of(z))
    return fit.fitted()


def octaves(classes):
    return classes.astype(int) - MOST


def test_a_sensitivity_that_a_component_shows_is_found():
    emphasis = fitted(lambda z: np.exp2(2 * z[:, 0] / DEVIATIONS[0]))
    z = tokens(2000, seed=9)
    found = octaves(emphasis.of(z, DEVIATIONS))
    assert np.corrcoef(found, z[:, 0])[0, 1] > 0.95
    assert abs(found.mean()) < 0.3


def test_a_sensitivity_of_the_tokens_far_from_the_mean_is_found():
    emphasis = fitted(lambda z: np.where(np.abs(z[:, 2]) > DEVIATIONS[2], 32, 1))
    z = tokens(2000, seed=9)
    found = octaves(emphasis.of(z, DEVIATIONS))
    far = np.abs(z[:, 2]) > DEVIATIONS[2]
    assert found[far].mean() > found[~far].mean() + 2


def test_where_all_tokens_matter_alike_none_is_emphasised():
    emphasis = fitted(lambda z: np.full(len(z), 3.0))
    assert (octaves(emphasis.of(tokens(100), DEVIATIONS)) == 0).all()


def test_where_nothing_matters_none_is_emphasised():
    emphasis = fitted(lambda z: np.zeros(len(z)))
    assert (octaves(emphasis.of(tokens(100), DEVIATIONS)) == 0).all()


def test_without_tokens_there_is_no_emphasis():
    assert (octaves(EmphasisFit(5).fitted().of(tokens(100), DEVIATIONS)) == 0).all()


@given(
    st.lists(st.floats(-(2.0**126), 2.0**126, width=32), min_size=5, max_size=5),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=11, max_size=11),
)
def test_any_numbers_have_a_class(numbers, weights):
    deviations = np.array([0, 1e-30, 1, 5, 1e30], np.float32)
    z = np.array([numbers], np.float32)
    with np.errstate(all="raise", under="ignore"):
        classes = Emphasis(np.array(weights, np.float32)).of(z, deviations)
    assert classes.dtype == np.uint8
    assert classes.max() < CLASSES


def test_a_token_of_two_more_has_half_the_step():
    factors = step_factors(np.arange(CLASSES, dtype=np.uint8))
    assert factors.shape == (CLASSES, 1)
    np.testing.assert_array_equal(factors[2:], factors[:-2] / 2)
    assert factors[MOST] == 1
