"""`cachegen` keeps the error bound its docstring states, and refuses what it cannot code."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import CacheGen, CorruptFrame, Frame, KVArray, codec_from, encode_chunk
from codec.cachegen import ANCHOR_DEVIATIONS, DELTA_DEVIATIONS, GROUP_TOKENS, LEVELS
from codec.frame import pack
from codec.gaussian_tables import expected_counts, gaussian_tables
from connectors.hf import spec_of, ttft
from connectors.hf.models import fast_dtype
from connectors.hf.prompts import shipped_document
from tests.codec.contract import KEY, CodecContract, decoded, seeds
from tests.codec.test_int8 import finite
from tests.kv import SPEC, kv_of_numbers, mapped, specs, tensors
from tests.real import real_model

ROUNDED_UP = 1 + 2.0**-7


def assert_within_bound(original, back, bins):
    """Half a step, of the anchor or of the difference, plus the rounding of float32 and of the spec's dtype."""
    x, y = (tensor.transpose(0, 1).flatten(1).double() for tensor in (original, back))
    anchor = torch.arange(len(x)) // GROUP_TOKENS * GROUP_TOKENS
    is_anchor = (torch.arange(len(x)) == anchor)[:, None]
    reach = x.abs().amax(dim=1, keepdim=True)
    anchor_step = reach * ROUNDED_UP / 127 + 2.0**-133
    delta = (x - x[anchor]).abs().amax(dim=1, keepdim=True) + anchor_step[anchor] / 2
    step = torch.where(is_anchor, anchor_step, delta * ROUNDED_UP / (bins // 2 - 1) + 2.0**-133)
    dtype = torch.finfo(original.dtype)
    largest = torch.maximum(reach, reach[anchor]) + step
    rounding = largest * (4 * 2.0**-24 + dtype.eps) + dtype.smallest_normal * dtype.eps
    assert ((x - y).abs() <= step / 2 + rounding).all()


class CacheGenContract(CodecContract):
    def check(self, original, back):
        num_layers = original.spec.num_layers
        for place, (tensor, other) in enumerate(zip(tensors(original), tensors(back), strict=True)):
            level = self.codec.params()["level"]
            assert_within_bound(tensor, other, LEVELS[level][3 * (place // 2) // num_layers])

    @given(spec=specs(), num_tokens=st.integers(1, 25), seed=seeds, exponent=st.integers(-149, 120))
    def test_the_bound_holds_from_subnormal_to_huge(self, spec, num_tokens, seed, exponent):
        kv = finite(kv_of_numbers(spec, num_tokens, seed, scale=2.0**exponent))
        self.check(kv, decoded(encode_chunk(self.codec, kv, KEY, 0), spec, num_tokens))


class TestHigh(CacheGenContract):
    codec, golden = CacheGen("high"), "cachegen-high"


class TestMedium(CacheGenContract):
    codec, golden = CacheGen("medium"), "cachegen-medium"


class TestLow(CacheGenContract):
    codec, golden = CacheGen("low"), "cachegen-low"


@pytest.mark.real_model
@pytest.mark.parametrize("contract", [TestHigh, TestLow])
def test_the_bound_holds_on_a_models_kv(contract):
    model, tokenizer = real_model(fast_dtype())
    ids = torch.tensor([tokenizer(shipped_document()).input_ids[:128]])
    layers = ttft.computed_context(model, ids).layers
    sides = (tuple(getattr(layer, side)[0] for layer in layers) for side in ("keys", "values"))
    kv = KVArray(spec_of(model, revision="test"), *sides)
    contract().check(kv, decoded(encode_chunk(contract.codec, kv, KEY, 0), kv.spec, 128))


def test_numbers_that_are_all_zero_come_back_exactly():
    kv = mapped(torch.zeros_like, kv_of_numbers(SPEC, 12))
    back = decoded(encode_chunk(CacheGen(), kv, KEY, 0), SPEC, 12)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(tensors(kv), tensors(back), strict=True))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 2e38])
def test_numbers_it_cannot_code_are_refused_when_encoding(number):
    kv = kv_of_numbers(SPEC, 4)
    kv.values[1][0, 2, 3] = number
    with pytest.raises(ValueError, match="cachegen cannot code"):
        encode_chunk(CacheGen(), kv, KEY, 0)


def test_encoding_a_layer_needs_to_know_how_many_there_are():
    with pytest.raises(ValueError, match="for_spec"):
        CacheGen().encode_layer(0, torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), 0)


def test_lower_levels_make_smaller_frames():
    kv = kv_of_numbers(SPEC, 256)
    sizes = [len(encode_chunk(CacheGen(level), kv, KEY, 0)) for level in ("high", "medium", "low")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < 0.5 * kv.num_bytes


@pytest.mark.parametrize("params", [{"level": "best"}, {"level": 1}, {"level": ["high"]}, {"level": None}, {"bins": 8}])
def test_a_level_there_is_not_is_refused(params):
    with pytest.raises(CorruptFrame, match="high, medium, low"):
        codec_from("cachegen", params)


@pytest.mark.parametrize(
    ("lowest", "highest", "deviations"),
    [(-128, 127, ANCHOR_DEVIATIONS)] + [(1 - bins // 2, bins // 2 - 1, DELTA_DEVIATIONS) for bins in (8, 16, 32, 64)],
)
def test_tables_do_not_hang_on_the_last_bits_of_a_platforms_arithmetic(lowest, highest, deviations):
    counts = expected_counts(deviations, lowest, highest)
    assert np.abs(counts % 1 - 0.5).min() > 1e-6
    assert (gaussian_tables(deviations, lowest, highest).frequencies.sum(axis=1, dtype=np.int64) == 4096).all()
    assert (gaussian_tables(deviations, lowest, highest).frequencies > 0).all()


KV = kv_of_numbers(SPEC, 12)
WHOLE = Frame(encode_chunk(CacheGen(), KV, KEY, 0))
SECTIONS = {name: WHOLE.section(name, place.dtype, place.shape) for name, place in WHOLE.header.sections.items()}


def decoded_with(name, section):
    """What a frame decodes to whose section `name` is this one, its checksum right."""
    changed = {**SECTIONS, name: np.asarray(section)}
    return decoded(pack(SPEC, KEY, 0, 12, "cachegen", {"level": "high"}, changed), SPEC, 12)


@pytest.mark.parametrize("bins", [0, 1, 2, 7, 9, 33, 128, 255])
def test_bins_that_no_level_has_are_a_corrupt_frame(bins):
    side = SECTIONS["0.side"].copy()
    side[0] = bins
    with pytest.raises(CorruptFrame, match="bins"):
        decoded_with("0.side", side)


@pytest.mark.parametrize("step", [0x7F80, 0x7FC0, 0x8000, 0xBF80, 0xFFFF])
def test_a_step_that_is_negative_or_not_finite_is_a_corrupt_frame(step):
    side = SECTIONS["0.side"].copy()
    side[-2:] = np.array([step], "<u2").view(np.uint8)
    with pytest.raises(CorruptFrame, match="step"):
        decoded_with("0.side", side)


def test_numbers_beyond_float32_that_cancel_each_other_are_a_corrupt_frame():
    side = SECTIONS["0.side"].copy()
    side[-4 * KV.num_tokens :].view("<u2")[:] = 0x7F7F
    with pytest.raises(CorruptFrame, match="numbers"):
        decoded_with("0.side", side)


def test_an_anchor_outside_of_its_bins_is_a_corrupt_frame():
    side = SECTIONS["0.side"].copy()
    side[1 + 24] = 0x80
    with pytest.raises(CorruptFrame, match="anchor"):
        decoded_with("0.side", side)


@pytest.mark.parametrize("name", ["0.side", "0.anchors", "0.deltas", "2.deltas"])
@pytest.mark.parametrize("change", ["cut", "longer", "empty"])
def test_a_section_of_another_length_is_a_corrupt_frame(name, change):
    section = SECTIONS[name]
    other = {"cut": section[:-4], "longer": np.concatenate([section, section]), "empty": section[:0]}[change]
    with pytest.raises(CorruptFrame):
        decoded_with(name, other)


@settings(max_examples=300)
@given(name=st.sampled_from(sorted(SECTIONS)), data=st.data())
def test_any_bytes_in_a_section_decode_to_numbers_or_are_a_corrupt_frame(name, data):
    section = SECTIONS[name].copy()
    places = data.draw(st.lists(st.integers(0, section.size - 1), min_size=1, max_size=8))
    for place in places:
        section[place] = data.draw(st.integers(0, 255))
    try:
        decoded_with(name, section)
    except CorruptFrame:
        return


@given(data=st.binary(max_size=200), name=st.sampled_from(sorted(SECTIONS)))
def test_a_section_of_any_bytes_decodes_or_is_a_corrupt_frame(data, name):
    try:
        decoded_with(name, np.frombuffer(data, np.uint8))
    except CorruptFrame:
        return
