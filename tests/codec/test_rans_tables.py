"""Tables sum to 4096, leave every symbol codable, and follow the counts as closely as 12 bits allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.rans_tables import Tables, fit_tables


def cost(counts, frequencies):
    """Bits that `counts` symbols take under `frequencies`."""
    return float(-(counts * np.log2(frequencies / 4096)).sum())


@given(counts=st.lists(st.integers(0, 1 << 50), min_size=1, max_size=256))
def test_fitted_tables_sum_up_and_leave_every_symbol_codable(counts):
    frequencies = fit_tables(np.array([counts])).frequencies
    assert frequencies.sum() == 4096
    assert frequencies.min() >= 1


@given(counts=st.lists(st.integers(0, 10_000), min_size=2, max_size=40), seed=st.integers(0, 99))
def test_no_slot_is_better_placed_elsewhere(counts, seed):
    counts = np.array(counts, float)
    if not counts.any():
        return
    best = fit_tables(counts[None]).frequencies[0].astype(float)
    here = cost(counts, best)
    chosen = np.random.default_rng(seed)
    for _ in range(50):
        giver, taker = chosen.integers(0, len(counts), 2)
        moved = best.copy()
        moved[giver] -= 1
        moved[taker] += 1
        if moved.min() >= 1:
            assert cost(counts, moved) >= here * (1 - 1e-4) - 1e-6


def test_frequencies_that_divide_evenly_are_met_exactly():
    np.testing.assert_array_equal(fit_tables(np.array([[1, 2, 1]])).frequencies, [[1024, 2048, 1024]])


def test_a_table_without_counts_is_flat():
    np.testing.assert_array_equal(fit_tables(np.zeros((2, 4))).frequencies, np.full((2, 4), 1024))


def test_the_scale_of_the_weights_does_not_matter():
    weights = np.random.default_rng(0).random((3, 50))
    expected = fit_tables(weights).frequencies
    np.testing.assert_array_equal(fit_tables(weights * 2.0**900).frequencies, expected)
    np.testing.assert_array_equal(fit_tables(weights * 2.0**-900).frequencies, expected)


def test_fitted_tables_are_close_to_the_entropy():
    weights = np.exp(-np.abs(np.arange(64) - 32) / np.geomspace(0.5, 8, 10)[:, None])
    for counts, frequencies in zip(weights, fit_tables(weights).frequencies, strict=True):
        assert cost(counts, frequencies) < 1.01 * cost(counts, 4096 * counts / counts.sum()) + 0.02 * counts.sum()


@pytest.mark.parametrize("counts", [[[1.0, -1.0]], [[np.nan, 1.0]], [[np.inf, 1.0]]])
def test_weights_that_make_no_sense_are_refused(counts):
    with pytest.raises(ValueError, match="finite"):
        fit_tables(np.array(counts))


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (1, 257), (1, 2, 3)])
def test_counts_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="symbol"):
        fit_tables(np.ones(shape))


@pytest.mark.parametrize(
    "frequencies",
    [
        np.array([[4096]], np.int64),
        np.array([4096], np.uint16),
        np.array([[4095]], np.uint16),
        np.array([[4096, 0]], np.uint16),
        np.array([[4096, 4096]], np.uint16),
        np.array([[65535, 4097]], np.uint16),
        np.full((1, 512), 8, np.uint16),
        np.empty((0, 4), np.uint16),
    ],
)
def test_frequencies_that_are_no_table_are_refused(frequencies):
    with pytest.raises(ValueError, match=r"frequenc|tables"):
        Tables(frequencies)


def test_tables_cannot_be_changed_behind_their_back():
    frequencies = np.array([[4000, 96]], np.uint16)
    tables = Tables(frequencies)
    frequencies[:] = 0
    np.testing.assert_array_equal(tables.frequencies, [[4000, 96]])
    with pytest.raises(ValueError, match="read-only"):
        tables.frequencies[0, 0] = 1


def test_every_slot_leads_to_the_symbol_that_owns_it():
    tables = fit_tables(np.random.default_rng(1).random((3, 200)) ** 8)
    slots = tables.slots
    for table in range(3):
        symbol, frequency, offset = slots[table] & 255, (slots[table] >> 8 & 4095) + 1, slots[table] >> 20
        np.testing.assert_array_equal(frequency, tables.frequencies[table, symbol])
        np.testing.assert_array_equal(np.arange(4096) - offset, tables.starts[table, symbol])
