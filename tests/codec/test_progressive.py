"""Frames of quality `progressive`: a part of the bytes is a lower quality, all of them the highest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import CorruptFrame, Frame, Int8, KVArray, Transform, bytes_needed, decode_chunk, encode_chunk, read_header
from tests.codec.calibrated import STEP, movable, profile_for
from tests.codec.contract import KEY, decoded, seeds
from tests.codec.forge import ForgedFrame
from tests.codec.test_transform import assert_within_bound
from tests.kv import SPEC, bits, kv_of_numbers, specs

QUALITIES = {"small": STEP, "balanced": STEP / 2, "high": STEP / 4}
"""Steps: each is half of the one before, and no level's own is exceeded."""
BOUNDS = {"small": 0.625, "balanced": 0.75, "high": 0.5}
"""How far from its component each quality may be, in its steps."""
PROFILE = profile_for(SPEC)
KV = kv_of_numbers(SPEC, 90, seed=4)
FRAME = bytes(encode_chunk(Transform(PROFILE, "progressive"), KV, KEY, 0))


def begun(frame, quality, spec, num_tokens):
    """What the first bytes decode to, those that the quality needs."""
    out, num_bytes = KVArray.empty(spec, num_tokens), bytes_needed(read_header(frame), quality)
    decode_chunk(Frame.begun(frame[:num_bytes]), out, quality=quality)
    return out


@given(spec=specs(), num_tokens=st.integers(1, 70), seed=seeds, start=st.sampled_from([0, 16]))
def test_every_quality_keeps_the_bound_of_its_step(spec, num_tokens, seed, start):
    spec = movable(spec)
    kv = kv_of_numbers(spec, num_tokens, seed)
    frame = encode_chunk(Transform(profile_for(spec), "progressive"), kv, KEY, start)
    for quality, step in QUALITIES.items():
        back = begun(frame, quality, spec, num_tokens)
        bound = 2 * BOUNDS[quality] * step  # of a step that half would be the bound of
        assert_within_bound(profile_for(spec), kv, back, bound, start, sent_as_zero=0.5)


def test_the_whole_frame_is_the_highest_quality():
    assert bits(decoded(FRAME, SPEC, 90)) == bits(begun(FRAME, "high", SPEC, 90))
    assert bytes_needed(read_header(FRAME)) == bytes_needed(read_header(FRAME), "high") == len(FRAME)


def test_a_higher_quality_needs_more_bytes():
    needed = [bytes_needed(read_header(FRAME), quality) for quality in QUALITIES]
    assert needed == sorted(set(needed))


def test_a_lower_quality_needs_about_the_bytes_of_a_frame_of_its_step():
    alone = len(encode_chunk(Transform(PROFILE, QUALITIES["small"]), KV, KEY, 0))
    assert bytes_needed(read_header(FRAME), "small") <= alone + 1000  # its header tells of more sections


def test_all_qualities_together_cost_little_more_than_the_highest_alone():
    kv = kv_of_numbers(SPEC, 500, seed=6)
    together, alone = (
        len(encode_chunk(Transform(PROFILE, quality), kv, KEY, 0)) for quality in ("progressive", STEP / 4)
    )
    assert together < 1.08 * alone + 1000


@pytest.mark.parametrize("quality", QUALITIES)
def test_bytes_that_have_not_come_are_missing(quality):
    short = FRAME[: bytes_needed(read_header(FRAME), quality) - 1]
    with pytest.raises(CorruptFrame, match="missing"):
        decode_chunk(Frame.begun(short), KVArray.empty(SPEC, 90), quality=quality)


@pytest.mark.parametrize("quality", ["best", "", "progressive"])
def test_a_quality_that_is_not_there_is_refused(quality):
    with pytest.raises(ValueError, match="cannot be read at quality"):
        decode_chunk(Frame(FRAME), KVArray.empty(SPEC, 90), quality=quality)
    with pytest.raises(ValueError, match="cannot be read at quality"):
        bytes_needed(read_header(FRAME), quality)


@pytest.mark.parametrize("codec", [Transform(PROFILE), Transform(PROFILE, 0.5), Int8()])
def test_frames_of_one_quality_have_no_other(codec):
    frame = encode_chunk(codec, KV, KEY, 0)
    with pytest.raises(ValueError, match="cannot be read at quality"):
        decode_chunk(Frame(frame), KVArray.empty(SPEC, 90), quality="small")
    assert bytes_needed(read_header(frame)) == len(frame)


def test_a_lower_quality_decodes_although_the_rest_is_damaged():
    needed = bytes_needed(read_header(FRAME), "small")
    damaged, out = FRAME[:needed] + bytes(len(FRAME) - needed), KVArray.empty(SPEC, 90)
    decode_chunk(Frame(damaged), out, quality="small")
    assert bits(out) == bits(begun(FRAME, "small", SPEC, 90))
    with pytest.raises(CorruptFrame, match="damaged"):
        decode_chunk(Frame(damaged), out)


def test_a_frame_without_sections_needs_its_header():
    frame = ForgedFrame.opened(FRAME)
    frame.sections.clear()
    header = read_header(frame.sealed())
    assert bytes_needed(header, "small") == header.num_bytes
