"""Buffers that are lent come back by themselves, and not before the last view of them is gone."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from kvstore.buffers import BUFFER_BYTES, ReadBuffers, contiguous_buffer
from kvstore.direct_io import DirectIO
from kvstore.segment_record import PAGE_BYTES

MIB = 1 << 20
MOST_LENT = 16

VIEWS = {
    "array": lambda lent: lent,
    "slice": lambda lent: lent[5:9],
    "slice of a slice": lambda lent: lent[PAGE_BYTES:][10:20][2:4],
    "memoryview": lambda lent: lent[PAGE_BYTES:].data.toreadonly(),
    "slice of a memoryview": lambda lent: lent[PAGE_BYTES:].data.toreadonly()[100:200],
    "cast memoryview": lambda lent: lent.data.cast("B")[8:],
    "array of a memoryview": lambda lent: np.frombuffer(lent.data[16:].toreadonly(), np.uint16),
    "tensor": lambda lent: torch.frombuffer(lent[PAGE_BYTES:].data, dtype=torch.float32)[3:],
}


@pytest.mark.parametrize("num_bytes", [1, MIB, 2 * MIB, 3 * MIB])
def test_a_contiguous_buffer_begins_a_huge_page(num_bytes):
    buffer = contiguous_buffer(num_bytes)
    assert len(buffer) == num_bytes
    assert buffer.ctypes.data % (2 * MIB) == 0
    buffer[:] = 1


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_buffer_is_not_lent_again_while_any_view_of_it_lives(view):
    buffers = ReadBuffers()
    lent = buffers.lend(MIB)
    address, kept = lent.ctypes.data, view(lent)
    del lent
    gc.collect()
    others = [buffers.lend(MIB) for _ in range(MOST_LENT - 1)]
    assert address not in [other.ctypes.data for other in others]
    assert buffers.lend(MIB) is None
    del kept
    gc.collect()
    assert buffers.lend(MIB).ctypes.data == address


def test_a_buffer_in_a_cycle_comes_back_with_the_garbage():
    buffers, cycle = ReadBuffers(), []
    cycle.append((cycle, buffers.lend(MIB)))
    address = cycle[0][1].ctypes.data
    del cycle
    gc.collect()
    assert buffers.lend(MIB).ctypes.data == address


@pytest.mark.parametrize("num_bytes", [PAGE_BYTES, BUFFER_BYTES + PAGE_BYTES])
def test_what_is_short_or_longer_than_a_buffer_is_not_lent(num_bytes):
    assert ReadBuffers().lend(num_bytes) is None


def test_a_buffer_taken_for_a_read_is_used_again_after_it():
    buffers = ReadBuffers()
    with buffers.taken() as first, buffers.taken() as second:
        assert first.ctypes.data != second.ctypes.data
    with buffers.taken() as again:
        assert again.ctypes.data in (first.ctypes.data, second.ctypes.data)


def test_frames_kept_from_many_reads_at_once_stay_what_they_were(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, 4 * MIB, np.uint8)
    (tmp_path / "file").write_bytes(content.data)
    io, kept = DirectIO(), {}

    def read(number):
        start = PAGE_BYTES * (number * 37 % 512)
        view = io.read(tmp_path / "file", start, MIB)[PAGE_BYTES:].data.toreadonly()
        if number % 5 == 0:
            kept[number] = start + PAGE_BYTES, view[number:]
        return np.array_equal(np.frombuffer(view, np.uint8), content[start:][PAGE_BYTES:MIB])

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(150)))
    for number, (start, view) in kept.items():
        assert np.array_equal(np.frombuffer(view, np.uint8), content[start + number :][: len(view)])


def test_a_read_that_fails_gives_its_buffer_back(tmp_path):
    (tmp_path / "file").write_bytes(bytes(MIB))
    io = DirectIO()
    for _ in range(2 * MOST_LENT):
        assert io.read(tmp_path / "file", PAGE_BYTES, MIB) is None
        with pytest.raises(FileNotFoundError):
            io.read(tmp_path / "none", 0, MIB)
    kept = [io.read(tmp_path / "file", 0, MIB) for _ in range(MOST_LENT)]
    assert all(read.ctypes.data % BUFFER_BYTES == 0 for read in kept)
