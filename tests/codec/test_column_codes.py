"""Columns of multiples come back rounded, whatever the numbers; hostile bytes are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import CorruptFrame
from codec.column_codes import RAREST, pack, unpack
from codec.column_tables import NUM_EXPECTATIONS, REACH, expectations
from codec.emphasis import CLASSES
from tests.codec.calibrated import fitted_tables

TABLES = fitted_tables()
NEAREST_FAR = REACH + 128
"""The first integer that is stored as it is."""


@st.composite
def columns(draw):
    """Multiples `[row, column]`, classes, expectations; scales from all zero to far beyond the reach."""
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    num_rows, num_columns = draw(st.sampled_from([1, 2, 9, 80])), draw(st.integers(1, 20))
    scales = draw(
        st.lists(st.sampled_from([0, 0.05, 0.3, 1, 12, 60, 300, 1e37]), min_size=num_columns, max_size=num_columns)
    )
    multiples = np.clip(random.standard_normal((num_rows, num_columns)), -9, 9).astype(np.float32)
    multiples *= np.array(scales, np.float32)
    classes = random.integers(0, CLASSES, num_rows).astype(np.uint8)
    return multiples, classes, random.integers(0, NUM_EXPECTATIONS, num_columns).astype(np.uint8)


def whole(multiples, classes, expected, rarest=RAREST):
    """What comes back, zero columns among it."""
    columns = unpack(TABLES, pack(TABLES, multiples, classes, expected, rarest), classes, expected)
    assert columns.multiples.dtype == np.float32
    back = np.zeros_like(multiples)
    back[:, columns.coded] = columns.multiples
    return back


def is_rare(multiples):
    rounded = np.rint(multiples)
    few = np.count_nonzero(rounded, axis=0) <= len(multiples) / 32
    return few & (np.abs(rounded) <= 1).all(axis=0)


@given(columns())
def test_multiples_come_back_rounded(made):
    multiples, classes, expected = made
    nearest = np.where(is_rare(multiples), 0, np.rint(multiples))
    back = whole(multiples, classes, expected)
    is_far = np.abs(nearest) >= NEAREST_FAR
    assert np.array_equal(back[~is_far], nearest[~is_far])
    assert np.array_equal(back[is_far], multiples[is_far])


@given(columns())
def test_columns_are_not_sent_as_zero_where_that_is_not_asked_for(made):
    multiples, classes, expected = made
    back = whole(multiples, classes, expected, rarest=0.0)
    assert np.array_equal(back != 0, np.rint(multiples) != 0)


def test_every_integer_around_the_escapes_comes_back():
    ends = np.arange(REACH - 1, NEAREST_FAR + 2)
    multiples = np.concatenate([ends, -ends]).astype(np.float32)[:, None]
    classes = np.full(len(multiples), 6, np.uint8)
    assert np.array_equal(whole(multiples, classes, np.zeros(1, np.uint8)), multiples)


def test_zeros_of_either_sign_are_zero():
    multiples = np.array([[0.0, -0.0, -0.4], [-0.0, 0.0, 0.4]], np.float32)
    packed = pack(TABLES, multiples, np.zeros(2, np.uint8), np.zeros(3, np.uint8))
    back = unpack(TABLES, packed, np.zeros(2, np.uint8), np.zeros(3, np.uint8))
    assert back.coded.size == 0
    assert back.multiples.shape == (2, 0)


def test_columns_cost_about_their_entropy():
    random = np.random.default_rng(3)
    deviations = np.full(600, 1.5, np.float32)
    multiples = random.standard_normal((128, 600)).astype(np.float32) * deviations
    classes = np.full(128, 6, np.uint8)
    packed = pack(TABLES, multiples, classes, expectations(deviations, 1.0))
    entropy = np.log2(1.5 * np.sqrt(2 * np.pi * np.e))
    assert 8 * packed.size / multiples.size < 1.03 * entropy + 0.06


@pytest.fixture(scope="module")
def packed():
    random = np.random.default_rng(4)
    multiples = (random.standard_normal((20, 9)) * np.geomspace(0.1, 300, 9)).astype(np.float32)
    classes, expected = random.integers(0, CLASSES, 20).astype(np.uint8), np.arange(9, dtype=np.uint8)
    return pack(TABLES, multiples, classes, expected), classes, expected


@given(content=st.binary(max_size=120))
def test_any_bytes_are_refused(content):
    with pytest.raises(CorruptFrame):
        unpack(TABLES, np.frombuffer(content, np.uint8), np.zeros(20, np.uint8), np.arange(9, dtype=np.uint8))


@given(data=st.data())
def test_bytes_that_were_tampered_with_are_refused_or_numbers(packed, data):
    content, classes, expected = packed[0].copy(), *packed[1:]
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        columns = unpack(TABLES, content, classes, expected)
    except CorruptFrame:
        return
    assert columns.multiples.shape == (20, len(columns.coded))
    assert np.isfinite(columns.multiples).all()


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("stated", [1 << 31, (1 << 32) - 1])
def test_counts_longer_than_the_bytes_are_refused(packed, count, stated):
    content = packed[0].copy()
    content[4 * count : 4 * count + 4].view("<u4")[:] = stated
    with pytest.raises(CorruptFrame, match="longer"):
        unpack(TABLES, content, *packed[1:])


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_escapes_that_are_not_finite_are_refused(packed, number):
    content = packed[0].copy()
    assert content[:4].view("<u4")[0] > 0
    content[12:16].view("<f4")[:] = number
    with pytest.raises(CorruptFrame, match="finite"):
        unpack(TABLES, content, *packed[1:])


def test_a_stream_behind_columns_of_zeros_is_refused():
    expected = np.zeros(3, np.uint8)
    zeros = pack(TABLES, np.zeros((4, 3), np.float32), np.zeros(4, np.uint8), expected)
    with pytest.raises(CorruptFrame, match="not empty"):
        unpack(TABLES, np.append(zeros, [0, 0]).astype(np.uint8), np.zeros(4, np.uint8), expected)
