"""All stages say the nearest multiple of the last step, each its part of it; hostile bytes are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import CorruptFrame, refinement
from codec.column_codes import pack, unpack
from codec.column_tables import expectations
from codec.emphasis import CLASSES, MOST
from codec.refinement import Cells
from tests.codec.calibrated import fitted_tables

TABLES = fitted_tables()


BOUNDS = {1: 0.625, 0.5: 0.75, 0.25: 0.5}
"""How far from a component each stage may be, in its own steps."""


class Coded:
    """Components after the first stage, whose step is 1, and what is left of them."""

    def __init__(self, z, deviations, classes):
        self.classes = classes
        expected = expectations(deviations, 1.0)
        coarse, rounded = refinement.first_stage(z)
        columns = unpack(TABLES, pack(TABLES, coarse, classes, expected, 0.0), classes, expected)
        self.back = np.zeros_like(z)
        self.back[:, columns.coded] = refinement.middles(columns.multiples)
        self.left = rounded - self.back
        self.cells, self.decoders = (Cells.of(columns, classes, expected) for _ in range(2))
        self.num_bytes = 0

    def refine(self, step):
        """What is left, once it is refined to that step: half of the one before."""
        packed = refinement.pack(self.cells, self.left / step, self.classes)
        self.left = self.left - step * refinement.unpack(self.cells, packed, self.classes)
        self.back += step * refinement.unpack(self.decoders, packed, self.classes)
        self.num_bytes = packed.size
        return packed


def gaussians(num_rows, deviations, seed=0):
    random = np.random.default_rng(seed)
    z = random.standard_normal((num_rows, len(deviations))).astype(np.float32) * deviations
    return z, random.integers(0, CLASSES, num_rows).astype(np.uint8)


@given(
    num_rows=st.sampled_from([1, 3, 40]),
    deviations=st.lists(st.sampled_from([0, 0.01, 0.2, 0.6, 3, 50, 1e6, 1e30]), min_size=1, max_size=12),
    seed=st.integers(0, 1 << 32),
)
def test_every_stage_keeps_its_bound_and_the_last_says_all(num_rows, deviations, seed):
    deviations = np.array(deviations, np.float32)
    z, classes = gaussians(num_rows, deviations, seed)
    coded, exact = Coded(z, deviations, classes), np.abs(z) < 1e5
    assert np.abs(coded.back - z)[exact].max(initial=0) <= BOUNDS[1] + 0.01
    for step in (0.5, 0.25):
        coded.refine(np.float32(step))
        assert np.abs(coded.back - z)[exact].max(initial=0) <= BOUNDS[step] * step + 0.01
        np.testing.assert_allclose(coded.back, z, rtol=1e-6, atol=BOUNDS[step] * step)
    np.testing.assert_array_equal(coded.back[exact], np.rint(4 * z[exact]) / 4)


@pytest.mark.parametrize(("deviation", "most_bits"), [(40, 1.05), (0.01, 0.05)])
def test_a_refinement_costs_a_bit_a_number_and_little_where_all_are_zero(deviation, most_bits):
    deviations = np.full(400, deviation, np.float32)
    z, _ = gaussians(128, deviations)
    coded = Coded(z, deviations, np.full(128, MOST, np.uint8))
    coded.refine(np.float32(0.5))
    assert 8 * coded.num_bytes < most_bits * z.size


@given(content=st.binary(max_size=100))
def test_any_bytes_are_refused(content):
    deviations = np.array([0.3, 5], np.float32)
    coded = Coded(*(gaussians(30, deviations)[:1]), deviations, np.full(30, MOST, np.uint8))
    with pytest.raises(CorruptFrame):
        refinement.unpack(coded.cells, np.frombuffer(content, np.uint8), coded.classes)


@given(data=st.data())
def test_bytes_that_were_tampered_with_are_refused_or_small_moves(data):
    deviations = np.array([0.3, 0.9, 5], np.float32)
    coded = Coded(*(gaussians(30, deviations)[:1]), deviations, np.full(30, MOST, np.uint8))
    packed = refinement.pack(coded.cells, 2 * coded.left, coded.classes)
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        moves = refinement.unpack(coded.cells, packed, coded.classes)
    except CorruptFrame:
        return
    assert np.abs(moves).max() <= 1


@pytest.mark.parametrize("stated", [0, 1 << 31, (1 << 32) - 1])
def test_bits_of_another_number_are_refused(stated):
    deviations = np.array([5], np.float32)
    coded = Coded(*gaussians(30, deviations)[:1], deviations, np.full(30, MOST, np.uint8))
    packed = refinement.pack(coded.cells, 2 * coded.left, coded.classes)
    packed[:4].view("<u4")[:] = stated
    with pytest.raises(CorruptFrame, match="bits"):
        refinement.unpack(coded.cells, packed, coded.classes)
