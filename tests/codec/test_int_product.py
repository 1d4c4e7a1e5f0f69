"""The integer product: exact in its integers, the same with AVX2 and without, and near the matrix it stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.int_product import IntMatrix, in_eighths

LARGEST, MOST = (1 << 14) - 1, (1 << 17) - 1

pytestmark = pytest.mark.usefixtures("each_decoding_loop")


def matrix_and_multiples(num_rows, num_components, num_channels, seed):
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((num_components + seed % 3, num_channels)).astype(np.float32)
    multiples = (random.integers(-60, 61, (num_rows, num_components)) / 8).astype(np.float32)
    return matrix, random.standard_normal(num_channels).astype(np.float32), multiples, random


def wholes_of(matrix):
    """The integers that stand for the matrix, and what they are multiples of."""
    scales = np.abs(matrix).max(axis=0) / np.float32(LARGEST)
    return np.rint(matrix / scales).astype(np.int64), scales


@given(
    num_rows=st.integers(1, 13),
    num_components=st.integers(0, 40),
    num_channels=st.integers(1, 40),
    seed=st.integers(0, 1 << 32),
)
def test_the_outcome_is_of_exact_integers(num_rows, num_components, num_channels, seed):
    """Rows that are no multiple of four, components that are odd, channels that are no multiple of sixteen; and
    fewer components than the matrix has."""
    matrix, offset, multiples, random = matrix_and_multiples(num_rows, num_components + 1, num_channels, seed)
    steps = random.random(num_rows).astype(np.float32)
    eighths, is_small = in_eighths(multiples, num_components)
    back = IntMatrix.of(matrix, offset).product(eighths, steps)
    wholes, scales = wholes_of(matrix)
    sums = (8 * multiples[:, :num_components]).astype(np.int64) @ wholes[:num_components]
    assert is_small.all()
    assert back.dtype == np.float32
    np.testing.assert_array_equal(
        back, sums.astype(np.float32) * (scales / np.float32(8)) * steps[:, None] + offset, strict=True
    )


@pytest.mark.parametrize("num_components", [33, 1152, 9000])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_rows_there_are_do_not_overflow(num_components, sign):
    multiples = np.full((5, num_components), MOST // num_components / 8, np.float32)
    multiples[:, : MOST % num_components] += 0.125
    eighths, is_small = in_eighths(multiples, num_components)
    matrix = np.full((num_components, 17), sign, np.float32)
    back = IntMatrix.of(matrix, np.zeros(17, np.float32)).product(eighths, np.ones(5, np.float32))
    assert is_small.all()
    np.testing.assert_allclose(back, sign * MOST / 8, rtol=1e-6)


@pytest.mark.parametrize("number", [0.1, 4096, -4096, 1e30, -3e38, 2**-140])
def test_a_row_that_is_not_of_small_eighths_is_left_out(number):
    multiples = np.ones((6, 20), np.float32)
    multiples[2, 7] = number
    eighths, is_small = in_eighths(multiples, 20)
    assert is_small.tolist() == [True, True, False, True, True, True]
    assert not eighths[2].any()


def test_a_row_whose_sums_might_overflow_is_left_out():
    multiples = np.full((1, 33), MOST // 33 / 8, np.float32)
    multiples[0, : MOST % 33 + 1] += 0.125
    assert not in_eighths(multiples, 33)[1].any()


def test_only_the_first_components_count():
    multiples = np.ones((3, 9), np.float32)
    multiples[:, 5:] = 0.3
    assert in_eighths(multiples, 5)[1].all()


def test_every_number_of_the_matrix_is_within_its_bound():
    """2**-15 of the largest of its channel; channels of zeros, or of next to nothing, are zero."""
    matrix = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
    matrix *= 10.0 ** np.arange(-24, 24, dtype=np.float32)
    matrix[:, 3], matrix[:, 4] = 0, 2.0**-140
    eighths, _ = in_eighths(np.eye(64, dtype=np.float32), 64)
    back = IntMatrix.of(matrix, np.zeros(48, np.float32)).product(eighths, np.ones(64, np.float32))
    bound = np.abs(matrix).max(axis=0) * np.float32(2.0**-15 * 1.001)
    bound[4] = 2.0**-140
    assert (np.abs(back - matrix) <= bound).all()
