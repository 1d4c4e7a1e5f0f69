"""Frames in one body: however it is cut into pieces they come back; damage and lies end it, and give nothing wrong."""

import asyncio
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import CorruptFrame
from connectors.frame_stream import head_of, read_frames, stream_bytes
from kvstore.testing import frame, key, prompt

MOST = 1 << 20
sizes = st.lists(st.integers(1, 400), min_size=1, max_size=4)


def chunks(sizes):
    return [(each, frame(each, size)) for each, size in zip(prompt("a", len(sizes)), sizes, strict=True)]


def stream(entries):
    return b"".join(head_of(each, content) + content for each, content in entries)


def cut(body, places):
    """The body in pieces that end at these places."""
    ends = sorted(place % (len(body) + 1) for place in places)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def read(pieces, most_bytes=MOST):
    """What comes of a body in pieces, and the error it ends with, if any."""
    got = []

    async def coming():
        for piece in pieces:
            yield piece

    async def reading():
        async for each, content in read_frames(coming(), most_bytes):
            got.append((each, bytes(content)))

    try:
        asyncio.run(reading())
    except CorruptFrame as error:
        return got, error
    return got, None


@given(sizes=sizes, places=st.lists(st.integers(0, 10_000), max_size=12))
def test_frames_come_back_however_they_are_cut(sizes, places):
    body = stream(chunks(sizes))
    assert len(body) == stream_bytes(sizes)
    assert read(cut(body, places)) == (chunks(sizes), None)


def test_byte_by_byte_is_a_way_to_come():
    body = stream(chunks([3, 70]))
    assert read([body[at : at + 1] for at in range(len(body))]) == (chunks([3, 70]), None)


def test_no_bytes_are_no_frames():
    assert read([]) == ([], None)
    assert read([b"", b""]) == ([], None)


@given(sizes=sizes, places=st.lists(st.integers(0, 10_000), max_size=3), end=st.integers(0, 10_000))
def test_a_body_cut_short_gives_its_whole_frames_and_says_so(sizes, places, end):
    entries = chunks(sizes)
    body = stream(entries)
    end %= len(body)
    got, error = read(cut(body[:end], places))
    num_whole = sum(stream_bytes(sizes[:count]) <= end for count in range(1, len(sizes) + 1))
    assert got == entries[:num_whole]
    assert (error is None) == (end == stream_bytes(sizes[:num_whole]))


@given(sizes=sizes, places=st.lists(st.integers(0, 10_000), max_size=3), bit=st.integers(0, 100_000))
def test_a_flipped_bit_never_gives_other_bytes_under_a_key_that_was_sent(sizes, places, bit):
    entries = dict(chunks(sizes))
    body = bytearray(stream(entries.items()))
    bit %= 8 * len(body)
    body[bit // 8] ^= 1 << bit % 8
    got, error = read(cut(bytes(body), places))
    assert all(entries.get(each, content) == content for each, content in got)
    assert error is not None or {each for each, _ in got} != set(entries)


@pytest.mark.parametrize("size", [0, MOST + 1, 1 << 40, (1 << 64) - 1])
def test_a_length_that_is_not_taken_is_refused_before_room_is_made(size):
    head = struct.pack("<32sQ16s", key("a").digest, size, bytes(16))
    tracemalloc.start()
    got, error = read([head, bytes(1000)])
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert got == []
    assert f"a frame of {size} bytes" in str(error)
    assert peak_bytes < MOST


def test_a_frame_of_the_greatest_length_is_taken():
    entries = [(key("a"), frame(key("a"), 5000))]
    assert read([stream(entries)], most_bytes=5000) == (entries, None)
    assert read([stream(entries)], most_bytes=4999)[0] == []


@given(body=st.binary(max_size=300))
def test_noise_gives_no_frame_and_no_other_error(body):
    got, error = read([body])
    assert got == []
    assert (error is None) == (not body)
