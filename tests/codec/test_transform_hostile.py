"""Frames of `transform` that no encoder wrote: refused, or finite numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec import CorruptFrame, Frame, KVArray, Transform, encode_chunk, rans
from codec.column_tables import NUM_EXPECTATIONS, NUM_TABLES
from codec.emphasis import CLASSES
from tests.codec.calibrated import profile_for
from tests.codec.contract import KEY, decoded
from tests.codec.forge import ForgedFrame
from tests.codec.test_transform import classes_of
from tests.kv import SPEC, kv_of_numbers, mapped

PROFILE = profile_for(SPEC)
CODEC = Transform(PROFILE)


def test_exact_tokens_that_are_not_finite_are_refused():
    frame = ForgedFrame.opened(encode_chunk(CODEC, kv_of_numbers(SPEC, 4), KEY, 0))
    (sinks,) = (section for section in frame.sections if section.name == "2.sinks")
    sinks.content = b"\x80\x7f" + sinks.content[2:]
    with pytest.raises(CorruptFrame, match="finite"):
        decoded(frame.sealed(), SPEC, 4)


def decode_with(section, replacement, frame, codec=CODEC, num_tokens=5):
    """Decodes the frame with one section replaced, into a room of float32."""
    out = KVArray.empty(replace(SPEC, dtype="float32"), num_tokens)

    def read(name, dtype, shape=None):
        return replacement if name == section else frame.section(name, dtype, shape)

    list(codec.decode(read, out, 4, 4))
    return out


@pytest.mark.filterwarnings("error")
def test_escapes_that_cancel_each_other_beyond_float32_are_refused():
    huge, codec = mapped(lambda tensor: tensor * 1e30, kv_of_numbers(SPEC, 5)), Transform(PROFILE, 1000.0)
    frame = Frame(encode_chunk(codec, huge, KEY, 4))
    packed = frame.section("0.kv", np.uint8).copy()
    num_far = int(packed[:4].view("<u4")[0])
    packed[12 : 12 + 4 * num_far].view("<f4")[:] = np.where(np.arange(num_far) % 2, 3.4e38, -3.4e38)
    with pytest.raises(CorruptFrame, match="numbers"):
        decode_with("0.kv", packed, frame, codec)


@pytest.mark.parametrize("number", [CLASSES, NUM_TABLES])
def test_a_class_of_emphasis_that_does_not_exist_is_refused(number):
    frame = Frame(encode_chunk(CODEC, kv_of_numbers(SPEC, 5), KEY, 4))
    classes = classes_of(PROFILE, frame, 5)
    classes[1, 2] = number
    forged = rans.encode(classes, np.full(5, NUM_EXPECTATIONS), PROFILE.tables.sides, 8)
    with pytest.raises(CorruptFrame, match=f"class {number}"):
        decode_with("0.emphasis", forged, frame)


FRAME = Frame(encode_chunk(Transform(PROFILE, "progressive"), kv_of_numbers(SPEC, 5), KEY, 4))
SECTIONS = ("0.emphasis", "0.kv", "2.finer", "0.finest")


@given(packed=st.binary(max_size=200), section=st.sampled_from(SECTIONS))
def test_hostile_sections_are_refused(packed, section):
    with pytest.raises(CorruptFrame):
        decode_with(section, np.frombuffer(packed, np.uint8), FRAME, Transform(PROFILE, "progressive"))


@given(st.data())
def test_sections_that_were_tampered_with_are_refused_or_finite(data):
    section = data.draw(st.sampled_from(SECTIONS))
    packed = FRAME.section(section, np.uint8).copy()
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    packed = packed[: data.draw(st.integers(0, len(packed)))]
    try:
        out = decode_with(section, packed, FRAME, Transform(PROFILE, "progressive"))
    except CorruptFrame:
        return
    assert all(torch.isfinite(tensor).all() for tensor in (*out.keys, *out.values))
