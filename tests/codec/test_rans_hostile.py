"""A stream that is not what the encoder wrote is a CorruptFrame or symbols of the right count, never worse."""

import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import CorruptFrame, rans, rans_reference
from codec.rans_tables import fit_tables
from tests.codec.rans_cases import laplace_tables, symbols_from

pytestmark = pytest.mark.usefixtures("each_decoding_loop")
ROWS, COLUMNS = 31, np.arange(27) % 4
TABLES = laplace_tables(4)
SYMBOLS = symbols_from(TABLES, COLUMNS, ROWS)
STREAM = rans.encode(SYMBOLS, COLUMNS, TABLES, num_lanes=16).tobytes()


def outcome(stream, num_rows=ROWS):
    """The symbols, or None for CorruptFrame; and that the reference, which has bounds checks, finds the same."""
    results = []
    for decode, given_stream in ((rans.decode, np.frombuffer(stream, np.uint8)), (rans_reference.decode, stream)):
        try:
            results.append(decode(given_stream, num_rows, COLUMNS, TABLES))
        except CorruptFrame:
            results.append(None)
    ours, theirs = results
    assert (ours is None) == (theirs is None)
    if ours is not None:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.shape == (num_rows, len(COLUMNS))
    return ours


def test_a_stream_cut_anywhere_is_corrupt():
    for length in range(len(STREAM)):
        assert outcome(STREAM[:length]) is None


def test_a_stream_with_something_behind_it_is_corrupt():
    for extra in (b"\0", b"\0\0", b"\xff" * 100):
        assert outcome(STREAM + extra) is None


@given(position=st.integers(0, len(STREAM) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_corrupt_or_other_symbols(position, bit):
    damaged = bytearray(STREAM)
    damaged[position] ^= 1 << bit
    symbols = outcome(bytes(damaged))
    assert symbols is None or not np.array_equal(symbols, SYMBOLS)


@given(garbage=st.binary(max_size=600), num_lanes=st.sampled_from(rans.LANES))
def test_garbage_behind_a_proper_header_does_no_harm(garbage, num_lanes):
    outcome(struct.pack("<II", SYMBOLS.size, num_lanes) + garbage)


@given(words=st.binary(max_size=4000), state=st.integers(1 << 16, (1 << 32) - 1))
def test_garbage_words_do_no_harm(words, state):
    outcome(struct.pack("<II16I", SYMBOLS.size, 16, *[state] * 16) + words)


@pytest.mark.parametrize("num_lanes", [0, 1, 7, 9, 24, 128, 1 << 31, (1 << 32) - 1])
def test_a_number_of_lanes_that_no_encoder_uses_is_corrupt(num_lanes):
    assert outcome(struct.pack("<II", SYMBOLS.size, num_lanes) + STREAM[8:]) is None


@pytest.mark.parametrize("num_symbols", [0, SYMBOLS.size - 1, SYMBOLS.size + 1, (1 << 32) - 1])
def test_another_number_of_symbols_is_corrupt(num_symbols):
    assert outcome(struct.pack("<I", num_symbols) + STREAM[4:]) is None


@pytest.mark.parametrize("num_rows", [-1, 0, ROWS - 1, ROWS + 1, 1 << 40])
def test_another_number_of_rows_is_corrupt_and_allocates_nothing(num_rows):
    with pytest.raises(CorruptFrame):
        rans.decode(np.frombuffer(STREAM, np.uint8), num_rows, COLUMNS, TABLES)


def test_a_state_below_its_range_is_corrupt():
    states = struct.unpack_from("<16I", STREAM, 8)
    assert outcome(STREAM[:8] + struct.pack("<16I", *states[:-1], 0xFFFF) + STREAM[72:]) is None


def test_words_that_symbols_without_information_leave_over_are_corrupt():
    tables, columns = fit_tables(np.ones((1, 1))), np.zeros(3, int)
    stream = rans.encode(np.zeros((100, 3), np.uint8), columns, tables)
    longer = np.concatenate([stream, np.zeros(2, np.uint8)])
    with pytest.raises(CorruptFrame):
        rans.decode(longer, 100, columns, tables)


@given(seed=st.integers(0, 1 << 32))
def test_other_tables_are_corrupt_or_other_symbols(seed):
    other = fit_tables(np.random.default_rng(seed).random((4, 64)))
    with suppress(CorruptFrame):
        assert rans.decode(np.frombuffer(STREAM, np.uint8), ROWS, COLUMNS, other).shape == SYMBOLS.shape


def test_damaged_streams_in_many_threads_do_no_harm():
    def damage(seed):
        stream = np.frombuffer(STREAM, np.uint8).copy()
        stream[np.random.default_rng(seed).integers(8, stream.size)] ^= 0x55
        try:
            return rans.decode(stream, ROWS, COLUMNS, TABLES).shape == SYMBOLS.shape
        except CorruptFrame:
            return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(damage, range(200)))


@pytest.mark.parametrize(
    "table_of_column",
    [np.array([0, 4]), np.array([0, -1]), np.array([0.0, 1.0]), np.array([[0, 1]]), np.array([1 << 40, 0])],
)
def test_columns_without_a_table_are_refused(table_of_column):
    with pytest.raises(ValueError, match="table"):
        rans.encode(np.zeros((3, 2), np.uint8), table_of_column, TABLES)
    with pytest.raises(ValueError, match="table"):
        rans.decode(np.frombuffer(STREAM, np.uint8), 3, table_of_column, TABLES)


TWO_CLASSES = np.stack([COLUMNS, COLUMNS[::-1]])
IN_CLASSES = np.arange(ROWS) % 2


def refused(table_of_column, class_of_row, match):
    with pytest.raises(ValueError, match=match):
        rans.encode(SYMBOLS, table_of_column, TABLES, class_of_row=class_of_row)
    with pytest.raises(ValueError, match=match):
        rans.decode(np.frombuffer(STREAM, np.uint8), ROWS, table_of_column, TABLES, class_of_row=class_of_row)


@pytest.mark.parametrize(
    "class_of_row",
    [
        np.where(np.arange(ROWS) == ROWS - 1, 2, 0),
        np.where(np.arange(ROWS) == 0, -1, 0).astype(np.int8),
        np.full(ROWS, 1 << 32),
        np.full(ROWS, 1 << 63, np.uint64),
        np.full(ROWS, (1 << 64) - 1, np.uint64),
        np.zeros(ROWS),
        np.zeros(ROWS, bool),
        np.zeros(ROWS - 1, int),
        np.zeros(ROWS + 1, int),
        np.zeros((ROWS, 1), int),
        np.zeros((), int),
        np.zeros(0, int),
    ],
)
def test_classes_that_do_not_exist_are_refused(class_of_row):
    refused(TWO_CLASSES, class_of_row, "class_of_row")


@pytest.mark.parametrize(
    "table_of_column",
    [COLUMNS, TWO_CLASSES[None], TWO_CLASSES + 0.5, TWO_CLASSES + 1, TWO_CLASSES - 1, TWO_CLASSES + (1 << 32)],
)
def test_tables_of_classes_that_do_not_exist_are_refused(table_of_column):
    refused(table_of_column, IN_CLASSES, "table_of_column")


def test_rows_cannot_be_of_no_class():
    refused(TWO_CLASSES[:0], IN_CLASSES, "class_of_row")


def test_tables_by_class_need_the_classes():
    refused(TWO_CLASSES, None, "table_of_column")


def test_another_number_of_columns_is_refused_in_classes_too():
    with pytest.raises(ValueError, match="table_of_column"):
        rans.encode(SYMBOLS, TWO_CLASSES[:, 1:], TABLES, class_of_row=IN_CLASSES)


@given(seed=st.integers(0, 1 << 32), length=st.integers(0, len(STREAM)))
def test_other_classes_and_cut_streams_are_corrupt_or_other_symbols(seed, length):
    chosen = np.random.default_rng(seed)
    under, class_of_row = (chosen.integers(0, 4, (3, len(COLUMNS))), TABLES), chosen.integers(0, 3, ROWS)
    results = []
    for decode, stream in (
        (rans.decode, np.frombuffer(STREAM[:length], np.uint8)),
        (rans_reference.decode, STREAM[:length]),
    ):
        try:
            results.append(decode(stream, ROWS, *under, class_of_row=class_of_row).tobytes())
        except CorruptFrame:
            results.append(None)
    assert results[0] == results[1]


@pytest.mark.parametrize("symbols", [np.zeros(2, np.uint8), np.zeros((1, 2), np.int64), np.full((1, 2), 64, np.uint8)])
def test_symbols_that_cannot_be_coded_are_refused(symbols):
    with pytest.raises(ValueError, match="symbol"):
        rans.encode(symbols, np.zeros(2, int), TABLES)


def test_another_number_of_columns_is_refused():
    with pytest.raises(ValueError, match="table_of_column"):
        rans.encode(SYMBOLS, COLUMNS[:-1], TABLES)


def test_another_number_of_lanes_is_refused():
    with pytest.raises(ValueError, match="num_lanes"):
        rans.encode(SYMBOLS, COLUMNS, TABLES, num_lanes=12)


@pytest.mark.parametrize(
    "out",
    [
        np.empty((ROWS, 28), np.uint8),
        np.empty((ROWS, 27), np.int8),
        np.empty((27, ROWS), np.uint8).T,
        np.empty(ROWS * 27, np.uint8),
        np.frombuffer(bytes(ROWS * 27), np.uint8).reshape(ROWS, 27),
    ],
)
def test_an_array_that_cannot_hold_the_symbols_is_refused(out):
    with pytest.raises(ValueError, match="out must be"):
        rans.decode(np.frombuffer(STREAM, np.uint8), ROWS, COLUMNS, TABLES, out)


def test_a_stream_that_is_not_bytes_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        rans.decode(np.frombuffer(STREAM, np.uint16), ROWS, COLUMNS, TABLES)
