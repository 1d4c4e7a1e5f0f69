"""`int4` keeps the error bound its docstring states, and refuses what it cannot code."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec import CorruptFrame, Frame, Int4, encode_chunk
from codec.frame import pack
from tests.codec.contract import KEY, CodecContract, decoded, seeds
from tests.codec.forge import ForgedFrame
from tests.codec.test_int8 import finite
from tests.kv import SPEC, kv_of_numbers, specs


def assert_within_bound(original, back):
    """Half a step, its low and scale rounded to 8 bits, plus the rounding of float32 and of the spec's dtype."""
    for x, y in zip(original.double().split(64, dim=-1), back.double().split(64, dim=-1), strict=True):
        low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        reach = torch.maximum(low.abs(), high.abs())
        scale = (high - low + low.abs() * 2.0**-7 + 2.0**-133) * (1 + 2.0**-7) / 15 + 2.0**-133
        dtype = torch.finfo(original.dtype)
        rounding = (reach + scale) * (4 * 2.0**-24 + dtype.eps) + dtype.smallest_normal * dtype.eps
        assert ((x - y).abs() <= scale / 2 + rounding).all()


class TestInt4(CodecContract):
    codec = Int4()

    def check(self, original, back):
        for keys, other in zip(original.keys, back.keys, strict=True):
            assert_within_bound(keys.transpose(1, 2), other.transpose(1, 2))
        for values, other in zip(original.values, back.values, strict=True):
            assert_within_bound(values, other)

    @given(spec=specs(), num_tokens=st.integers(60, 70), seed=seeds, exponent=st.integers(-149, 120))
    def test_the_bound_holds_from_subnormal_to_huge(self, spec, num_tokens, seed, exponent):
        kv = finite(kv_of_numbers(spec, num_tokens, seed, scale=2.0**exponent))
        self.check(kv, decoded(encode_chunk(self.codec, kv, KEY, 0), spec, num_tokens))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 2e38])
def test_numbers_it_cannot_code_are_refused_when_encoding(number):
    kv = kv_of_numbers(SPEC, 4)
    kv.values[1][0, 2, 3] = number
    with pytest.raises(ValueError, match="use lossless"):
        encode_chunk(Int4(), kv, KEY, 0)


@pytest.mark.parametrize("name", ["0.k.low", "0.v.scale"])
def test_a_scale_that_is_not_finite_is_a_corrupt_frame(name):
    whole = Frame(encode_chunk(Int4(), kv_of_numbers(SPEC, 4), KEY, 0))
    sections = {name: whole.section(name, place.dtype, place.shape) for name, place in whole.header.sections.items()}
    sections[name] = np.full_like(sections[name], 0x7F80)
    with pytest.raises(CorruptFrame, match="finite"):
        decoded(pack(SPEC, KEY, 0, 4, "int4", {}, sections), SPEC, 4)


def test_a_step_as_large_as_there_is_gives_the_largest_numbers_without_a_warning():
    frame = ForgedFrame.opened(encode_chunk(Int4(), kv_of_numbers(SPEC, 4), KEY, 0))
    (scale,) = (section for section in frame.sections if section.name == "1.v.scale")
    scale.content = b"\x7f\x7f" * (len(scale.content) // 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = decoded(frame.sealed(), SPEC, 4).values[1]
    assert values.max() == torch.finfo(values.dtype).max
