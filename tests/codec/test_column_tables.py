"""The family of tables: fitted to columns it codes others like them well; classes shift along its widths."""

import math

import numpy as np
import pytest

from codec import CorruptFrame
from codec.column_codes import symbols_of
from codec.column_tables import (
    NUM_EXPECTATIONS,
    NUM_SCALES,
    NUM_SHAPES,
    NUM_TABLES,
    REACH,
    SMALLEST_SCALE,
    ColumnTables,
    bits_of,
    expectations,
    scale_of_expectation,
    shifted,
)
from codec.emphasis import CLASSES, MOST, step_factors
from codec.table_fit import SeenColumns, fit_column_tables
from tests.codec.calibrated import fitted_tables


def columns(draw, seed, num_columns=300):
    """Columns of the distribution `draw(random, shape)`, in tokens of all classes; deviations and steps differ."""
    random = np.random.default_rng(seed)
    deviations = np.exp2(random.uniform(-3, 2.5, num_columns)).astype(np.float32)
    classes = np.clip(np.rint(random.normal(MOST, 2, 128)), 0, CLASSES - 1).astype(np.uint8)
    z = draw(random, (128, num_columns)).astype(np.float32) * deviations
    multiples = z / step_factors(classes)
    return multiples, SeenColumns(symbols_of(multiples), classes, expectations(deviations, 1.0)), deviations


def gaussian(random, shape):
    return random.standard_normal(shape)


def laplacian(random, shape):
    return random.laplace(0, np.sqrt(0.5), shape)


def below(name, x, scale):
    """The distribution function at `x` of deviation `scale`."""
    if name == "laplacian":
        scale = scale * np.sqrt(0.5)
        return np.where(x < 0, np.exp(-np.abs(x) / scale) / 2, 1 - np.exp(-np.abs(x) / scale) / 2)
    return (1 + np.vectorize(math.erf)(x / (scale * np.sqrt(2)))) / 2


def ideal_bits(name, seen, deviations):
    """What the symbols within reach cost under the very distribution they were drawn from."""
    scales = deviations[None, :] / step_factors(seen.classes)
    n = seen.symbols.astype(float) - REACH
    p = below(name, n + 0.5, scales) - below(name, n - 0.5, scales)
    within = seen.symbols <= 2 * REACH
    return -np.log2(np.maximum(p, 1e-12))[within].sum(), within


@pytest.mark.parametrize(("name", "draw"), [("gaussian", gaussian), ("laplacian", laplacian)])
def test_columns_like_those_it_was_fitted_to_cost_little_more_than_their_entropy(name, draw):
    tables = fit_column_tables([columns(draw, seed)[1] for seed in range(8)])
    _, held_out, deviations = columns(draw, 99)
    chosen = tables.choose(held_out.symbols, held_out.classes, held_out.expected)
    side = bits_of(tables.side)[held_out.expected, chosen].sum()
    coded = np.flatnonzero(chosen)
    under = shifted(chosen[coded].astype(np.int64) - 1)[held_out.classes]
    ideal, within = ideal_bits(name, held_out, deviations)
    bits = bits_of(tables.frequencies)[under, held_out.symbols[:, coded]][within[:, coded]].sum()
    assert bits < 1.03 * ideal
    assert side < 5 * len(chosen)


def test_a_class_more_is_a_width_more():
    tables = np.arange(NUM_TABLES)
    under = shifted(tables)
    assert under.shape == (CLASSES, NUM_TABLES)
    assert np.array_equal(under[MOST], tables)
    assert np.array_equal(under[MOST + 1, :-NUM_SHAPES], tables[NUM_SHAPES:])
    assert (under % NUM_SHAPES == tables % NUM_SHAPES).all()


def test_widths_end_at_the_first_and_the_last():
    under = shifted(np.array([0, NUM_TABLES - 1]))
    assert (under[:MOST, 0] == 0).all()
    assert (under[MOST:, 1] == NUM_TABLES - 1).all()


def test_tables_are_symmetric():
    frequencies = fitted_tables().frequencies.astype(int)
    mirrored = frequencies[:, : 2 * REACH + 1][:, ::-1]
    assert np.abs(frequencies[:, : 2 * REACH + 1] - mirrored).max() <= 1


def test_wider_tables_are_wider():
    frequencies = fitted_tables().frequencies.reshape(NUM_SCALES, NUM_SHAPES, -1)
    at_zero = frequencies[:, :, REACH].astype(int)
    assert (np.diff(at_zero, axis=0) <= 0).all()


def test_a_column_of_zeros_is_chosen_to_be_zero():
    symbols = np.full((20, 3), REACH, np.uint8)
    symbols[4, 1] = REACH + 1
    chosen = fitted_tables().choose(symbols, np.full(20, MOST, np.uint8), np.array([0, 9, 0]))
    assert chosen[0] == chosen[2] == 0
    assert chosen[1] > 0


def test_expectations_name_the_scale_of_their_deviation():
    deviations = SMALLEST_SCALE * np.exp2(np.arange(8)).astype(np.float32)
    assert scale_of_expectation(expectations(deviations, 1.0)).tolist() == list(range(0, 16, 2))


@pytest.mark.parametrize("deviation", [0.0, 1e-45, 1e-3, 1.0, 1e3, 3e38])
@pytest.mark.parametrize("step", [1e-30, 1.0, 1e30])
def test_expectations_are_within_those_there_are(deviation, step):
    (expected,) = expectations(np.array([deviation], np.float32), step)
    assert 0 <= expected < NUM_EXPECTATIONS


def test_twice_the_deviation_is_two_more_expected():
    expected = expectations(np.exp2(np.arange(-4, 4)).astype(np.float32), 1.0)
    assert set(np.diff(expected.astype(int))) == {2}


def test_tables_that_are_no_distributions_are_refused():
    tables = fitted_tables()
    with pytest.raises(CorruptFrame, match="distributions"):
        ColumnTables(tables.frequencies + np.uint16(1), tables.side)
    with pytest.raises(CorruptFrame, match="shapes"):
        ColumnTables(tables.frequencies[1:], tables.side)


def test_tables_fitted_to_nothing_code_anything():
    tables = fit_column_tables([])
    assert tables.frequencies.min() >= 1
