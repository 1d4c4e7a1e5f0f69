"""`lossless` gives back the bits it was given, whatever they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import CorruptFrame, Frame, Lossless, encode_chunk
from codec.float_channels import num_bytes
from codec.float_tables import expected_counts
from codec.frame import pack
from tests.codec.contract import KEY, CodecContract, decoded
from tests.kv import SPEC, bits, kv_of_any_bits, kv_of_numbers, mapped

places, byte = st.integers(0, 1 << 20), st.integers(0, 255)
WHOLE = Frame(encode_chunk(Lossless(), kv_of_any_bits(SPEC, 12), KEY, 0))
SECTIONS = {name: WHOLE.section(name, place.dtype, place.shape) for name, place in WHOLE.header.sections.items()}
LEADING = SECTIONS["0.leading"]
ESCAPES_AT = 4 + num_bytes(24)


class TestLossless(CodecContract):
    codec = Lossless()

    def kv(self, spec, num_tokens, seed):
        return kv_of_any_bits(spec, num_tokens, seed)

    def check(self, original, back):
        assert bits(back) == bits(original)


def test_the_signs_of_zeros_survive():
    kv = mapped(lambda tensor: torch.full_like(tensor, -0.0), kv_of_numbers(SPEC, 4))
    assert bits(decoded(encode_chunk(Lossless(), kv, KEY, 0), SPEC, 4)) == bits(kv)


def test_kv_of_a_model_gets_smaller():
    kv = kv_of_numbers(SPEC, 512)
    assert len(encode_chunk(Lossless(), kv, KEY, 0)) < 0.9 * kv.num_bytes


def test_a_channel_of_one_infinity_does_not_cost_its_neighbours():
    kv = kv_of_numbers(SPEC, 128)
    size = len(encode_chunk(Lossless(), kv, KEY, 0))
    kv.keys[0][0, 5, 3] = float("inf")
    frame = encode_chunk(Lossless(), kv, KEY, 0)
    assert bits(decoded(frame, SPEC, 128)) == bits(kv)
    assert len(frame) < size + 500


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("scale", [0.0, 1e-40, 1e-6, 1.0, 1e4, 1e30])
def test_numbers_of_any_scale_come_back(dtype, scale):
    spec = replace(SPEC, dtype=dtype)
    kv = kv_of_numbers(spec, 40, scale=scale)
    assert bits(decoded(encode_chunk(Lossless(), kv, KEY, 0), spec, 40)) == bits(kv)


@pytest.mark.parametrize("cells_per_octave", [4, 8])
def test_tables_do_not_hang_on_the_last_bits_of_a_platforms_arithmetic(cells_per_octave):
    assert np.abs(expected_counts(cells_per_octave) % 1 - 0.5).min() > 1e-6


@pytest.mark.parametrize("part", [0, 3, 4, 30, -2])
def test_leading_bits_that_are_cut_short_are_a_corrupt_frame(part):
    with pytest.raises(CorruptFrame):
        decoded_with("0.leading", LEADING[:part])


@pytest.mark.parametrize("change", [-1, 1, 1 << 20, 0xFFFFFFFF - 40])
def test_another_number_of_escapes_is_a_corrupt_frame(change):
    leading = LEADING.copy()
    count = leading[:4].view("<u4")
    count[0] = (int(count[0]) + change) % (1 << 32)
    with pytest.raises(CorruptFrame):
        decoded_with("0.leading", leading)


def test_an_escape_wider_than_its_bits_is_a_corrupt_frame():
    leading = LEADING.copy()
    leading[ESCAPES_AT + 1] = 0xFF
    with pytest.raises(CorruptFrame, match="more bits"):
        decoded_with("0.leading", leading)


@pytest.mark.parametrize("size", [0, 1, -1])
def test_low_bits_of_another_size_are_a_corrupt_frame(size):
    with pytest.raises(CorruptFrame, match="low bits"):
        decoded_with("0.low", np.zeros(SECTIONS["0.low"].size + size if size else 0, np.uint8))


@settings(max_examples=200)
@given(name=st.sampled_from(["0.leading", "0.low", "1.leading"]), changes=st.lists(st.tuples(places, byte), max_size=8))
def test_any_bytes_in_a_section_decode_to_numbers_or_are_a_corrupt_frame(name, changes):
    section = SECTIONS[name].copy()
    for place, changed in changes:
        section[place % section.size] = changed
    try:
        decoded_with(name, section)
    except CorruptFrame:
        return


def decoded_with(name, section):
    """What a frame of twelve tokens decodes to whose section `name` is this one, its checksum right."""
    return decoded(pack(SPEC, KEY, 0, 12, "lossless", {}, {**SECTIONS, name: section}), SPEC, 12)
