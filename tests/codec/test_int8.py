"""`int8` keeps the error bound its docstring states, and refuses what it cannot code."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from codec import CorruptFrame, Int8, encode_chunk
from tests.codec.contract import KEY, CodecContract, decoded, seeds
from tests.codec.forge import ForgedFrame
from tests.kv import SPEC, kv_of_numbers, mapped, specs

LARGEST = float(np.float32(1e38))


def assert_within_bound(original, back, shared_axis):
    """|x - x'| <= scale / 2, plus rounding in float32, plus rounding to the spec's dtype."""
    x, y = original.double(), back.double()
    low, high = x.amin(shared_axis, keepdim=True), x.amax(shared_axis, keepdim=True)
    scale, reach = (high - low) / 255, torch.maximum(low.abs(), high.abs())
    dtype = torch.finfo(original.dtype)
    rounding = reach * (4 * 2.0**-24 + dtype.eps) + 128 * 2.0**-149 + dtype.smallest_normal * dtype.eps
    assert ((x - y).abs() <= scale / 2 + rounding).all()


class TestInt8(CodecContract):
    codec = Int8()

    def check(self, original, back):
        for keys, values, back_keys, back_values in zip(
            original.keys, original.values, back.keys, back.values, strict=True
        ):
            assert_within_bound(keys, back_keys, shared_axis=1)
            assert_within_bound(values, back_values, shared_axis=2)

    @given(spec=specs(), seed=seeds, exponent=st.integers(-149, 120))
    def test_the_bound_holds_from_subnormal_to_huge(self, spec, seed, exponent):
        kv = finite(kv_of_numbers(spec, 7, seed, scale=2.0**exponent))
        self.check(kv, decoded(encode_chunk(self.codec, kv, KEY, 0), spec, 7))

    @given(numbers=st.lists(st.floats(-LARGEST, LARGEST, width=32), min_size=8, max_size=8))
    @example([0.0, 300 * 2.0**-149, 0, 0, 0, 0, 0, 0])  # a scale that float32 rounds down
    @example([0.0, 380 * 2.0**-149, 0, 0, 0, 0, 0, 0])
    @example([1e38, -1e38, 0, 0, 0, 0, 0, 0])
    @example([1.0, 1 - 2.0**-24, 1, 1, 1, 1, 1, 1])  # the scale is smaller than a number's last bit
    def test_the_bound_holds_for_any_numbers(self, numbers):
        x = torch.tensor(numbers, dtype=torch.float32)
        original, back = x.reshape(1, 8, 1), torch.empty(1, 8, 1)
        sections = self.codec.encode_layer(0, original, original, 0)
        self.codec.decode_layer(0, lambda name, dtype, shape: sections[name], back, torch.empty(1, 8, 1), 0, 0)
        assert_within_bound(original, back, shared_axis=1)


def finite(kv):
    def clamped(tensor):
        largest = min(torch.finfo(tensor.dtype).max, 1e38)
        return tensor.nan_to_num(posinf=largest, neginf=-largest).clamp(-largest, largest)

    return mapped(clamped, kv)


def test_a_channel_of_equal_numbers_comes_back_exactly():
    kv = mapped(lambda tensor: torch.full_like(tensor, 0.3), kv_of_numbers(SPEC, 4))
    back = decoded(encode_chunk(Int8(), kv, KEY, 0), SPEC, 4)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(kv.keys, back.keys, strict=True))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 2e38])
def test_numbers_it_cannot_code_are_refused_when_encoding(number):
    kv = kv_of_numbers(SPEC, 4)
    kv.values[1][0, 2, 3] = number
    with pytest.raises(ValueError, match="use lossless"):
        encode_chunk(Int8(), kv, KEY, 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", ["1.k.scale", "1.v.low", "1.v.scale"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -1e30, 3.4e38])
def test_steps_and_offsets_that_no_numbers_give_are_refused(dtype, name, number):
    spec = replace(SPEC, dtype=dtype)
    frame = ForgedFrame.opened(encode_chunk(Int8(), kv_of_numbers(spec, 4), KEY, 0))
    section = next(section for section in frame.sections if section.name == name)
    section.content = np.float32(number).tobytes() + section.content[4:]
    if name.endswith("low") and abs(number) < torch.finfo(getattr(torch, dtype)).max:
        assert torch.isfinite(decoded(frame.sealed(), spec, 4).values[1]).all()
    else:
        with pytest.raises(CorruptFrame, match="step"):
            decoded(frame.sealed(), spec, 4)


def test_a_frame_costs_about_one_byte_per_number():
    kv = kv_of_numbers(SPEC, 512)
    assert len(encode_chunk(Int8(), kv, KEY, 0)) < 1.2 * kv.num_bytes
