"""The entropy coder gives back its symbols, at their entropy, in the bytes the reference writes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import rans, rans_reference
from codec.rans_tables import Tables, fit_tables
from tests.codec.rans_cases import Case, bits_per_symbol, cases, laplace_tables, symbols_from

pytestmark = pytest.mark.usefixtures("each_decoding_loop")
GOLDEN = Path(__file__).parent / "golden"


def encoded(case):
    return rans.encode(case.symbols, case.table_of_column, case.tables, case.num_lanes, case.class_of_row)


def decoded(stream, case, out=None):
    return rans.decode(stream, len(case.symbols), case.table_of_column, case.tables, out, case.class_of_row)


@given(case=cases())
def test_what_was_encoded_comes_back(case):
    np.testing.assert_array_equal(decoded(encoded(case), case), case.symbols)


@given(case=cases())
def test_the_reference_writes_the_same_bytes_and_reads_them(case):
    under = case.table_of_column, case.tables
    stream = rans_reference.encode(case.symbols, *under, case.num_lanes, case.class_of_row)
    assert encoded(case).tobytes() == stream
    back = rans_reference.decode(stream, len(case.symbols), *under, case.class_of_row)
    np.testing.assert_array_equal(back, case.symbols)


@pytest.mark.parametrize("num_columns", [1, 3, 7, 8, 9, 16, 101])
@pytest.mark.parametrize("run", [1, 2, 9, 64])
def test_every_symbol_is_under_the_table_of_its_row_and_column(num_columns, run):
    class_of_row = np.arange(64) // run % 5
    table_of_column = np.add.outer(3 * np.arange(5), np.arange(num_columns)) % 8
    symbols = symbols_from(laplace_tables(8), table_of_column, 64, class_of_row=class_of_row)
    case = Case(symbols, table_of_column, laplace_tables(8), class_of_row=class_of_row)
    stream = encoded(case)
    np.testing.assert_array_equal(decoded(stream, case), symbols)
    one_row = Case(symbols.reshape(1, -1), table_of_column[class_of_row].ravel(), laplace_tables(8))
    assert stream.tobytes() == encoded(one_row).tobytes()


def test_one_class_is_as_none_and_classes_without_rows_change_nothing():
    tables, columns = laplace_tables(4), np.arange(13) % 4
    symbols = symbols_from(tables, columns, 9)
    expected = encoded(Case(symbols, columns, tables)).tobytes()
    unused = np.stack([columns[::-1], columns, columns[::-1]])
    for class_of_row in (np.ones(9, np.uint8), np.ones(18, np.int16)[::2], [1] * 9):
        case = Case(symbols, unused, tables, class_of_row=class_of_row)
        assert encoded(case).tobytes() == expected
        np.testing.assert_array_equal(decoded(encoded(case), case), symbols)
    assert encoded(Case(symbols, np.asfortranarray(unused), tables, class_of_row=[1] * 9)).tobytes() == expected


def test_more_classes_than_a_byte_counts_are_told_apart():
    tables, table_of_column = laplace_tables(8), np.random.default_rng(0).integers(0, 8, (600, 20))
    class_of_row = np.arange(600)[::-1]
    symbols = symbols_from(tables, table_of_column, 600, class_of_row=class_of_row)
    case = Case(symbols, table_of_column, tables, class_of_row=class_of_row)
    np.testing.assert_array_equal(decoded(encoded(case), case), symbols)


@pytest.mark.parametrize("num_lanes", rans.LANES)
def test_streams_of_earlier_releases_decode_to_the_same_symbols(num_lanes):
    with np.load(GOLDEN / f"rans-{num_lanes}.npz") as golden:
        tables, symbols, columns = Tables(golden["frequencies"]), golden["symbols"], golden["table_of_column"]
        np.testing.assert_array_equal(rans.decode(golden["stream"], len(symbols), columns, tables), symbols)
        assert rans.encode(symbols, columns, tables, num_lanes).tobytes() == golden["stream"].tobytes()


def test_no_rows_and_no_columns_are_coded_as_such():
    tables = laplace_tables(2)
    for shape in ((0, 5), (5, 0), (0, 0)):
        case = Case(np.empty(shape, np.uint8), np.zeros(shape[1], np.uint8), tables)
        assert encoded(case).size == 8 + 4 * 32
        assert decoded(encoded(case), case).shape == shape
        classes = np.zeros(shape[0], np.uint8)
        case = Case(case.symbols, np.zeros((1, shape[1]), np.uint8), tables, class_of_row=classes)
        assert decoded(encoded(case), case).shape == shape


def test_an_alphabet_of_one_symbol_takes_no_words():
    case = Case(np.zeros((100, 7), np.uint8), np.zeros(7, np.uint8), fit_tables(np.ones((1, 1))))
    assert encoded(case).size == 8 + 4 * 32
    np.testing.assert_array_equal(decoded(encoded(case), case), case.symbols)


def test_memory_layout_of_the_input_does_not_change_the_stream():
    case = Case(symbols_from(laplace_tables(4), np.arange(24) % 4, 16), np.arange(24) % 4, laplace_tables(4))
    transposed = np.asfortranarray(case.symbols)
    read_only = case.symbols.copy()
    read_only.flags.writeable = False
    for symbols in (transposed, read_only, np.repeat(case.symbols, 2, axis=1)[:, ::2]):
        stream = rans.encode(symbols, case.table_of_column, case.tables)
        assert stream.tobytes() == encoded(case).tobytes()


def test_decoding_fills_the_array_it_is_given_and_nothing_beside_it():
    case = Case(symbols_from(laplace_tables(4), np.arange(13) % 4, 9), np.arange(13) % 4, laplace_tables(4))
    room = np.full((15, 13), 255, np.uint8)
    stream = encoded(case)
    stream.flags.writeable = False
    assert decoded(stream, case, room[3:12]) is not None
    np.testing.assert_array_equal(room[3:12], case.symbols)
    assert np.all(room[:3] == 255)
    assert np.all(room[12:] == 255)


def test_a_stream_at_any_address_decodes():
    case = Case(symbols_from(laplace_tables(1), np.zeros(5, int), 50), np.zeros(5, int), laplace_tables(1))
    stream = encoded(case)
    shifted = np.empty(stream.size + 1, np.uint8)[1:]
    shifted[:] = stream
    np.testing.assert_array_equal(decoded(shifted, case), case.symbols)
    strided = np.repeat(stream, 2)[::2]
    np.testing.assert_array_equal(decoded(strided, case), case.symbols)


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0, 40.0])
def test_the_rate_is_that_of_the_entropy_and_of_constriction(scale):
    tables, columns = laplace_tables(1, [scale], num_symbols=128), np.zeros(64, np.uint8)
    symbols = symbols_from(tables, columns, 4096)
    ours = 8 * rans.encode(symbols, columns, tables).size
    probabilities = tables.frequencies[0] / np.float32(4096)
    peer = constriction.stream.stack.AnsCoder()
    peer.encode_reverse(
        symbols.ravel().astype(np.int32), constriction.stream.model.Categorical(probabilities, perfect=False)
    )
    assert ours <= 1.01 * 32 * peer.get_compressed().size
    entropy = bits_per_symbol(symbols, columns, tables) * symbols.size
    assert ours <= min(1.01 * entropy, 1.001 * entropy + 8 * (8 + 4 * 32))


def test_threads_decode_at_once_and_get_their_own_symbols():
    tables, columns = laplace_tables(8), np.arange(96) % 8
    several = [symbols_from(tables, columns, 512, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as threads:
        streams = list(threads.map(lambda symbols: rans.encode(symbols, columns, tables), several))
        back = list(threads.map(lambda stream: rans.decode(stream, 512, columns, tables), streams))
    for symbols, out in zip(several, back, strict=True):
        np.testing.assert_array_equal(out, symbols)


@given(frequency=st.integers(1, 4096), state=st.integers(0, (1 << 32) - 1))
def test_multiplying_by_the_reciprocal_divides(frequency, state):
    tables = Tables(np.array([[frequency, 4096 - frequency]], np.uint16)) if frequency < 4096 else fit_tables([[1.0]])
    reciprocal = int(tables.divisors[0, 0, 0])
    for x in (state % (frequency << 20), (frequency << 20) - 1, state % (frequency << 20) // frequency * frequency):
        assert x * reciprocal < 1 << 64
        assert x * reciprocal >> 44 == x // frequency
