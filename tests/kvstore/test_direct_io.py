"""Reads past the page cache."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kvstore.direct_io import DirectIO
from kvstore.segment_record import PAGE_BYTES

MIB = 1 << 20


@pytest.fixture
def content(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, 5 * MIB, np.uint8)
    (tmp_path / "file").write_bytes(content.data)
    return content


@pytest.mark.parametrize(("offset", "num_bytes"), [(0, PAGE_BYTES), (PAGE_BYTES, 2 * MIB), (MIB, 4 * MIB)])
@pytest.mark.parametrize("direct", [True, False])
def test_a_read_of_any_length_gives_the_bytes_of_the_file(direct, offset, num_bytes, content, tmp_path):
    io = DirectIO()
    io.direct = io.direct and direct
    assert np.array_equal(io.read(tmp_path / "file", offset, num_bytes), content[offset : offset + num_bytes])


def test_a_read_beyond_the_end_is_none(content, tmp_path):
    assert DirectIO().read(tmp_path / "file", 4 * MIB, 2 * MIB) is None


def test_what_was_read_stays_when_more_is_read_in_threads(content, tmp_path):
    io = DirectIO()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda page: io.read(tmp_path / "file", page * PAGE_BYTES, MIB), range(32)))
    for page, read in enumerate(found):
        assert np.array_equal(read, content[page * PAGE_BYTES :][:MIB])
