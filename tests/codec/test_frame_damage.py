"""Damage of any kind, anywhere in a frame, is a CorruptFrame: no other error, and never another array."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from codec import CorruptFrame, Frame, Int8, KVArray, Lossless, decode_chunk, encode_chunk, read_header, read_identity
from tests.codec.forge import forged, split
from tests.kv import SPEC, kv_of_numbers

KV = kv_of_numbers(SPEC, 4)
FRAMES = [bytes(encode_chunk(codec, KV, "ef" * 32, 0)) for codec in (Lossless(), Int8())]
FRAME = FRAMES[0]
HEADER_END = len(FRAME) - len(split(FRAME)[1])


def read_everything(data):
    """Every way there is to read a frame; returns only when none of them found anything wrong."""
    frame = Frame(data)
    decode_chunk(frame, KVArray.empty(SPEC, 4))
    frame.verify()


def assert_corrupt(data):
    with pytest.raises(CorruptFrame):
        read_everything(data)


@pytest.mark.parametrize("frame", FRAMES, ids=["lossless", "int8"])
@given(st.data())
@settings(max_examples=150)
def test_a_flipped_bit_anywhere_is_found(frame, data):
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << bit % 8
    assert_corrupt(damaged)


@given(st.data())
def test_an_overwritten_run_of_bytes_is_found(data):
    start = data.draw(st.integers(0, len(FRAME) - 1))
    run = data.draw(st.binary(min_size=1, max_size=64))
    damaged = FRAME[:start] + run + FRAME[start + len(run) :]
    if damaged != FRAME:
        assert_corrupt(damaged)


@pytest.mark.parametrize(
    "length",
    [0, 1, 7, 8, 9, 36, 37, 68, 69, HEADER_END - 1, HEADER_END, HEADER_END + 1, len(FRAME) // 2, len(FRAME) - 1],
)
def test_a_frame_cut_short_is_found(length):
    assert_corrupt(FRAME[:length])


@given(st.integers(0, len(FRAME) - 1))
def test_a_frame_cut_short_anywhere_is_found(length):
    assert_corrupt(FRAME[:length])


@given(st.binary(min_size=1, max_size=64))
def test_appended_bytes_are_found(tail):
    assert_corrupt(FRAME + tail)


def test_appended_bytes_are_found_behind_a_frame_without_sections():
    def drop_sections(entries):
        for name in [name for name in entries if name != "__metadata__"]:
            del entries[name]
        entries["__metadata__"]["sections_xxh3"] = ""

    header_only = forged(FRAME, drop_sections)[: -len(split(FRAME)[1])]
    assert not Frame(header_only).header.sections
    assert_corrupt(header_only + b"tail")


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_frame(noise):
    assert_corrupt(noise)
    assert_corrupt(len(noise).to_bytes(8, "little") + noise)


def test_two_frames_in_a_row_are_no_frame():
    assert_corrupt(FRAME + FRAME)


def test_somebody_elses_safetensors_file_is_no_frame():
    assert_corrupt(save({"0.k": KV.keys[0]}))
    assert_corrupt(save({"0.k": KV.keys[0]}, metadata={"checksum": "0" * 32, "kvstore_frame": "1"}))


@pytest.mark.parametrize("version", ["2", "0", "", "1.0"])
def test_a_future_format_is_refused_by_its_number(version):
    future = forged(FRAME, lambda entries: entries["__metadata__"].update(kvstore_frame=version))
    with pytest.raises(CorruptFrame, match="another release"):
        read_header(future)


def test_golden_frames_do_not_survive_a_flipped_bit_either():
    for path in Path(__file__).parent.glob("golden/*[0-9].safetensors"):
        damaged = bytearray(path.read_bytes())
        damaged[-1] ^= 1
        with pytest.raises(CorruptFrame):
            Frame(damaged).verify()


@pytest.mark.parametrize("frame", FRAMES, ids=["lossless", "int8"])
def test_the_identity_is_the_headers_key_and_length(frame):
    header = read_header(frame)
    assert read_identity(frame) == (header.key, header.num_bytes) == ("ef" * 32, len(frame))
    assert read_identity(frame[: len(frame) - len(split(frame)[1])]) == read_identity(memoryview(frame))


@given(st.data())
@settings(max_examples=100)
def test_no_identity_is_read_from_a_damaged_header(data):
    bit = data.draw(st.integers(0, 8 * HEADER_END - 1))
    damaged = bytearray(FRAME)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptFrame):
        read_identity(damaged)
    with pytest.raises(CorruptFrame):
        read_identity(FRAME[: bit // 8])
