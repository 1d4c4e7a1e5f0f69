"""`lossless` gives back the bits it was given, whatever they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import CorruptFrame, Frame, Lossless, encode_chunk
from codec.float_tables import expected_counts
from codec.frame import pack
from tests.codec.contract import KEY, CodecContract, decoded
from tests.kv import SPEC, bits, kv_of_any_bits, kv_of_mostly_numbers, kv_of_numbers, mapped

places, byte = st.integers(0, 1 << 20), st.integers(0, 255)
TOKENS = 40
WHOLE = Frame(encode_chunk(Lossless(), kv_of_mostly_numbers(SPEC, TOKENS), KEY, 0))
SECTIONS = {name: WHOLE.section(name, place.dtype, place.shape) for name, place in WHOLE.header.sections.items()}
LEADING = SECTIONS["0.leading"]


class TestLossless(CodecContract):
    codec = Lossless()

    def kv(self, spec, num_tokens, seed):
        return kv_of_mostly_numbers(spec, num_tokens, seed)

    def check(self, original, back):
        assert bits(back) == bits(original)


class TestStored(TestLossless):
    golden = "lossless-stored"

    def kv(self, spec, num_tokens, seed):
        return kv_of_any_bits(spec, num_tokens, seed)


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


@pytest.mark.parametrize("part", [1, 3, 4, 30, -2])
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


@pytest.mark.parametrize("size", [0, 1, -1])
def test_low_bits_of_another_size_are_a_corrupt_frame(size):
    low = SECTIONS["0.low"]
    with pytest.raises(CorruptFrame, match="low"):
        decoded_with("0.low", np.zeros((low.shape[0] + size if size else 0, low.shape[1]), np.uint8))


@pytest.mark.parametrize("num_tokens", [1, 2, 128])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_noise_is_stored_as_it_is(dtype, num_tokens):
    kv = kv_of_any_bits(replace(SPEC, dtype=dtype), num_tokens)
    for layer, (keys, values) in enumerate(zip(kv.keys, kv.values, strict=True)):
        sections = Lossless().encode_layer(layer, keys, values, 0).values()
        assert sum(section.nbytes for section in sections) <= keys.nbytes + values.nbytes


@settings(max_examples=200)
@given(name=st.sampled_from(["0.leading", "0.low", "1.leading"]), changes=st.lists(st.tuples(places, byte), max_size=8))
def test_any_bytes_in_a_section_decode_to_numbers_or_are_a_corrupt_frame(name, changes):
    section = SECTIONS[name].copy()
    for place, changed in changes:
        section.flat[place % section.size] = changed
    try:
        decoded_with(name, section)
    except CorruptFrame:
        return


def decoded_with(name, section):
    """What a frame of those tokens decodes to whose section `name` is this one, its checksum right."""
    return decoded(pack(SPEC, KEY, 0, TOKENS, "lossless", {}, {**SECTIONS, name: section}), SPEC, TOKENS)
