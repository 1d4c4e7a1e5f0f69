"""The Triton decoder reads the bytes that the CPU's encoder writes; interpreted where there is no GPU."""

import numpy as np
import pytest
import torch

from codec import CorruptFrame, rans
from tests.codec.rans_cases import laplace_tables, symbols_from

pytest.importorskip("triton", reason="Triton is not installed")
from codec import rans_gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TABLES = laplace_tables(3)


def streams_of(several, columns, lanes):
    return [rans.encode(symbols, columns, TABLES, num) for symbols, num in zip(several, lanes, strict=True)]


@pytest.mark.parametrize(("num_rows", "num_columns"), [(0, 5), (1, 1), (7, 13), (20, 32), (9, 100)])
def test_streams_of_any_lanes_decode_together(num_rows, num_columns):
    columns = np.arange(num_columns) % 3
    several = [symbols_from(TABLES, columns, num_rows, seed) for seed in range(4)]
    out = rans_gpu.decode(streams_of(several, columns, rans.LANES), num_rows, columns, TABLES, DEVICE)
    np.testing.assert_array_equal(out.cpu().numpy(), np.stack(several))


@pytest.mark.parametrize(("num_rows", "num_columns"), [(1, 1), (7, 13), (20, 32)])
def test_every_stream_has_rows_of_its_own_classes(num_rows, num_columns):
    chosen = np.random.default_rng(num_rows)
    columns, classes = chosen.integers(0, 3, (5, num_columns)), chosen.integers(0, 5, (4, num_rows))
    several = [symbols_from(TABLES, columns, num_rows, seed, classes[seed]) for seed in range(4)]
    streams = [
        rans.encode(symbols, columns, TABLES, num_lanes, class_of_row)
        for symbols, num_lanes, class_of_row in zip(several, rans.LANES, classes, strict=True)
    ]
    out = rans_gpu.decode(streams, num_rows, columns, TABLES, DEVICE, classes)
    np.testing.assert_array_equal(out.cpu().numpy(), np.stack(several))


@pytest.mark.parametrize("class_of_row", [np.zeros(3, int), np.zeros((2, 3), int), np.full((1, 3), 2)])
def test_classes_that_do_not_exist_are_refused(class_of_row):
    stream = rans.encode(np.zeros((3, 2), np.uint8), np.zeros(2, int), TABLES)
    with pytest.raises(ValueError, match="class_of_row"):
        rans_gpu.decode([stream], 3, np.zeros((2, 2), int), TABLES, DEVICE, class_of_row)


def test_no_streams_are_no_symbols():
    assert rans_gpu.decode([], 3, np.zeros(2, int), TABLES, DEVICE).shape == (0, 3, 2)


def test_a_damaged_stream_is_corrupt_and_named():
    columns = np.arange(11) % 3
    several = [symbols_from(TABLES, columns, 8, seed) for seed in range(3)]
    streams = streams_of(several, columns, [32, 16, 8])
    streams[1][8 + 4 * 16 + 1] ^= 0x80
    with pytest.raises(CorruptFrame, match=r"\[1\]"):
        rans_gpu.decode(streams, 8, columns, TABLES, DEVICE)


@pytest.mark.parametrize("position", [0, 1, 3, 4, 5, 7, 8, 10, 11, 39, 40, 41, -2, -1])
def test_a_changed_byte_is_taken_as_the_cpu_takes_it(position):
    columns = np.arange(11) % 3
    stream = rans.encode(symbols_from(TABLES, columns, 8, 3), columns, TABLES, 8)
    for change in (0x01, 0x18, 0x80):
        changed = stream.copy()
        changed[position] ^= change
        try:
            expected = rans.decode(changed, 8, columns, TABLES)
        except CorruptFrame:
            with pytest.raises(CorruptFrame):
                rans_gpu.decode([changed], 8, columns, TABLES, DEVICE)
        else:
            np.testing.assert_array_equal(rans_gpu.decode([changed], 8, columns, TABLES, DEVICE)[0].cpu(), expected)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 39, 40, 41, 72, 73])
def test_a_stream_cut_short_is_corrupt(length):
    columns = np.arange(11) % 3
    stream = rans.encode(symbols_from(TABLES, columns, 8, 3), columns, TABLES, 16)
    with pytest.raises(CorruptFrame):
        rans_gpu.decode([stream[:length]], 8, columns, TABLES, DEVICE)


def test_streams_of_different_sizes_and_columns_decode_together():
    several, streams = [], []
    for seed, (num_rows, num_columns) in enumerate([(3, 7), (0, 4), (1, 40), (20, 1)]):
        columns = np.arange(num_columns)[None] % 3
        classes = None if seed % 2 else np.zeros(num_rows, int)
        several.append(symbols_from(TABLES, columns[0], num_rows, seed))
        data = torch.from_numpy(rans.encode(several[-1], columns[0], TABLES, rans.LANES[seed])).to(DEVICE)
        of_rows = None if classes is None else torch.from_numpy(classes).to(DEVICE)
        streams.append(rans_gpu.Stream(data, num_rows, torch.from_numpy(columns).to(DEVICE), of_rows))
    for expected, symbols in zip(several, rans_gpu.decode_streams(streams, TABLES), strict=True):
        np.testing.assert_array_equal(symbols.cpu().numpy(), expected)


def test_too_few_words_are_corrupt_even_with_another_stream_behind_them():
    columns = np.arange(11) % 3
    several = [symbols_from(TABLES, columns, 8, seed) for seed in range(2)]
    first, second = streams_of(several, columns, [32, 32])
    with pytest.raises(CorruptFrame, match=r"\[0\]"):
        rans_gpu.decode([first[:-2], second], 8, columns, TABLES, DEVICE)
