"""`transform` keeps its bound in the coordinates it codes in, moves keys, and wants its own profile."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from codec import (
    CorruptFrame,
    Frame,
    Int8,
    KVArray,
    LayerGroup,
    Lossless,
    MissingProfile,
    Profile,
    SpecMismatch,
    Transform,
    UnsupportedRotary,
    codec_from,
    decode_chunk,
    encode_chunk,
    rans,
    register,
)
from codec.band import BLOCKS
from codec.column_tables import NUM_EXPECTATIONS
from codec.emphasis import CLASSES, step_factors
from codec.rotary import Rotary
from tests.codec.calibrated import LEVELS, SINKS, STEP, movable, profile_for
from tests.codec.contract import GOLDEN, KEY, CodecContract, decoded, seeds
from tests.kv import SPEC, bits, kv_of_numbers, mapped, specs

PROFILE = profile_for(SPEC)
CODEC = Transform(PROFILE)
LAYERS = range(SPEC.num_layers)


def channels(profile, band, kv, start, exact):
    """The band's channels, float64 `[token, channel]`, of the tokens behind the sinks."""
    parts = []
    for layer in range(band.first, band.end):
        parts.append(profile.rotary[layer].take_off(kv.keys[layer][:, exact:], start + exact))
        parts.append(kv.values[layer][:, exact:])
    return np.hstack([part.double().transpose(0, 1).flatten(1).numpy() for part in parts])


def classes_of(profile, frame, num_tokens):
    """The classes that the frame names, `[band, token]`."""
    columns = np.full(num_tokens, NUM_EXPECTATIONS)
    return rans.decode(frame.section("0.emphasis", np.uint8), len(profile.bands), columns, profile.tables.sides)


def components(band, x):
    starts = np.cumsum([len(basis.mean) for basis in band.bases])[:-1]
    blocks = zip(np.split(x, starts, axis=1), band.bases, strict=True)
    return np.hstack([block @ basis.analysis.astype(np.float64) for block, basis in blocks])


def rounded_away(band, x, dtype):
    """What float32, the dtype and the 16 bits of a basis round away of each component, at most."""
    starts = np.cumsum([len(basis.mean) for basis in band.bases])[:-1]
    away = []
    for block, basis in zip(np.split(x, starts, axis=1), band.bases, strict=True):
        analysis, largest = basis.analysis.astype(np.float64), np.abs(basis.synthesis).max(axis=0)
        rounding = 4 * (np.abs(block) + np.abs(basis.mean) + 1) * (torch.finfo(dtype).eps + 2.0**-20)
        rounding += np.abs((block - basis.mean) @ analysis).sum(axis=1, keepdims=True) * largest * 2.0**-14
        away.append(rounding @ np.abs(analysis))
    return np.hstack(away)


def steps_allowed(multiples, sent_as_zero):
    """Half a step, or one and a half in columns that are so nearly zero that they are sent as zero."""
    near = (np.abs(multiples) < 1.51).all(axis=0)
    rare = np.count_nonzero(np.abs(multiples) > 0.49, axis=0) <= len(multiples) / 32
    return np.where(near & rare, sent_as_zero, 0.5)


def assert_within_bound(profile, kv, back, step, start=0, sent_as_zero=1.5):
    """Sinks come back exactly, every component within its token's bound."""
    exact = SINKS if start == 0 else 0
    for ours, theirs in zip((*kv.keys, *kv.values), (*back.keys, *back.values), strict=True):
        assert torch.equal(ours[:, :exact], theirs[:, :exact])
    if kv.num_tokens <= exact:
        return
    frame = Frame(encode_chunk(Transform(profile, step), kv, KEY, start))
    for band, classes in zip(profile.bands, classes_of(profile, frame, kv.num_tokens - exact), strict=True):
        x, y = (channels(profile, band, each, start, exact) for each in (kv, back))
        steps = step * step_factors(classes)
        multiples = (components(band, x - np.concatenate([basis.mean for basis in band.bases]))) / steps
        error = np.abs(components(band, x - y))
        assert (error <= steps_allowed(multiples, sent_as_zero) * steps + rounded_away(band, x, kv.keys[0].dtype)).all()


class TestTransform(CodecContract):
    codec = CODEC

    def codec_for(self, spec):
        spec = movable(spec)
        return Transform(profile_for(spec)), spec

    def check(self, original, back, step=STEP):
        assert_within_bound(profile_for(original.spec), original, back, step)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
    @pytest.mark.parametrize("quality", [*LEVELS, "progressive"])
    def test_frames_of_earlier_releases_decode_to_the_same_bits(self, dtype, quality):
        """To the same numbers, that is: matrix products differ in their last bits from one machine to another."""
        register(Profile.load(GOLDEN / "transform.profile.safetensors"))
        frame = Frame((GOLDEN / f"transform-{quality}-{dtype}.safetensors").read_bytes())
        frame.verify()
        out = KVArray.empty(frame.header.spec, frame.header.num_tokens)
        decode_chunk(frame, out)
        expected = load_file(GOLDEN / f"transform-{quality}-{dtype}.decoded.safetensors")
        for layer in range(out.spec.num_layers):
            for name, tensor in (("keys", out.keys[layer]), ("values", out.values[layer])):
                eps = torch.finfo(tensor.dtype).eps
                torch.testing.assert_close(tensor, expected[f"{layer}.{name}"], rtol=eps, atol=1e-5)

    @given(spec=specs(), num_tokens=st.integers(1, 9), seed=seeds, step=st.floats(2**-6, 64))
    def test_the_bound_holds_for_any_step(self, spec, num_tokens, seed, step):
        spec = movable(spec)
        kv = kv_of_numbers(spec, num_tokens, seed)
        frame = encode_chunk(Transform(profile_for(spec), step), kv, KEY, 0)
        self.check(kv, decoded(frame, spec, num_tokens), step)

    @given(numbers=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=4, max_size=4))
    def test_numbers_far_from_what_was_calibrated_come_back(self, numbers):
        spec = replace(SPEC, dtype="float32")
        kv = kv_of_numbers(spec, 5)
        kv.values[1][0, 3, :4] = torch.tensor(numbers)
        back = decoded(encode_chunk(Transform(profile_for(spec)), kv, KEY, 0), spec, 5)
        error = (kv.values[1] - back.values[1]).abs().amax()
        assert error <= 160 * STEP + 1e-4 * kv.values[1].abs().amax()


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("layers_together", [1, 2, 3, 50])
def test_the_bound_holds_whatever_goes_together(blocks, layers_together):
    profile, kv = profile_for(SPEC, blocks, layers_together), kv_of_numbers(SPEC, 70, seed=3)
    back = decoded(encode_chunk(Transform(profile, 16.0), kv, KEY, 0), SPEC, 70)
    assert len(profile.bands) == -(-SPEC.num_layers // layers_together)
    assert_within_bound(profile, kv, back, 16.0)


def test_tokens_of_every_class_are_among_those_tested():
    frame = Frame(encode_chunk(CODEC, kv_of_numbers(SPEC, 200), KEY, 4))
    assert set(classes_of(PROFILE, frame, 200).ravel()) == set(range(CLASSES))


def at(kv, start, to):
    """The KV as the model would have computed it at another position."""
    keys = tuple(
        Rotary.of(group).move(keys, start, to).to(keys.dtype)
        for group, keys in zip(kv.spec.group_of, kv.keys, strict=True)
    )
    return KVArray(kv.spec, keys, kv.values)


@pytest.mark.parametrize("quality", ["balanced", "progressive"])
@pytest.mark.parametrize("start", [0, 16])
@pytest.mark.parametrize("to", [0, 5, 4000])
def test_keys_come_back_for_the_position_asked_for(start, to, quality):
    spec = replace(SPEC, dtype="float32")
    kv, codec, out = kv_of_numbers(spec, 8), Transform(profile_for(spec), quality), KVArray.empty(spec, 8)
    frame = Frame(encode_chunk(codec, kv, KEY, start))
    here = KVArray.empty(spec, 8)
    decode_chunk(frame, here)
    decode_chunk(frame, out, to)
    for keys, expected in zip(out.keys, at(here, start, to).keys, strict=True):
        torch.testing.assert_close(keys, expected, rtol=0, atol=2e-4)
    assert bits(out)[1::2] == bits(here)[1::2]


@pytest.mark.parametrize("codec", [Lossless(), Int8()], ids=lambda codec: codec.id)
def test_a_codec_that_keeps_keys_as_they_were_has_them_turned_afterwards(codec):
    spec = movable(replace(SPEC, dtype="float32"))
    frame = Frame(encode_chunk(codec, kv_of_numbers(spec, 5), KEY, 8))
    here, there = KVArray.empty(spec, 5), KVArray.empty(spec, 5)
    decode_chunk(frame, here)
    decode_chunk(frame, there, 300)
    for keys, expected in zip(there.keys, at(here, 8, 300).keys, strict=True):
        torch.testing.assert_close(keys, expected, rtol=0, atol=2e-4)
    assert bits(there)[1::2] == bits(here)[1::2]


def test_keys_that_nothing_is_known_of_are_not_moved():
    spec = replace(SPEC, groups=tuple(replace(group, rotary={"rope_type": "magic"}) for group in SPEC.groups))
    frame = Frame(encode_chunk(Lossless(), kv_of_numbers(spec, 3), KEY, 8))
    with pytest.raises(UnsupportedRotary, match="magic"):
        decode_chunk(frame, KVArray.empty(spec, 3), 9)
    decode_chunk(frame, KVArray.empty(spec, 3))


def test_a_chunk_within_a_prompt_has_no_sinks():
    sections = Frame(encode_chunk(CODEC, kv_of_numbers(SPEC, 4), KEY, 4)).header.sections
    assert list(sections) == ["0.emphasis", "0.kv", "2.kv"]


@pytest.mark.parametrize("quality", ["balanced", "progressive"])
@pytest.mark.parametrize("num_tokens", [1, SINKS])
def test_a_chunk_of_nothing_but_sinks_comes_back_exactly(num_tokens, quality):
    kv = kv_of_numbers(SPEC, num_tokens)
    frame = encode_chunk(Transform(PROFILE, quality), kv, KEY, 0)
    assert list(Frame(frame).header.sections) == ["0.sinks", "2.sinks"]
    assert bits(decoded(frame, SPEC, num_tokens)) == bits(kv)


def test_layers_of_any_sizes_share_a_band():
    groups = (
        LayerGroup((0, 3), kv_heads=1, key_dim=2, value_dim=1, window=4),
        LayerGroup((1,), kv_heads=3, key_dim=4, value_dim=6, rotary={"rope_theta": 1e4}),
        LayerGroup((2, 4), kv_heads=2, key_dim=6, value_dim=2, window=1, rotary={"rope_theta": 1e6}),
    )
    spec = replace(SPEC, groups=groups)
    profile, kv = profile_for(spec, "head", 4), kv_of_numbers(spec, 20, seed=8)
    assert_within_bound(profile, kv, decoded(encode_chunk(Transform(profile), kv, KEY, 7), spec, 20), STEP, start=7)


def test_a_profile_that_is_not_registered_is_missing():
    with pytest.raises(MissingProfile, match="0123"):
        codec_from("transform", {"profile": "0123" * 16})
    with pytest.raises(MissingProfile, match="calibrate"):
        codec_from("transform")


def test_another_models_kv_is_refused():
    other = replace(SPEC, groups=(replace(SPEC.groups[0], rotary={"rope_theta": 5e5}), SPEC.groups[1]))
    with pytest.raises(SpecMismatch):
        encode_chunk(CODEC, kv_of_numbers(other, 3), KEY, 0)


def test_the_same_layers_in_another_precision_are_coded():
    spec = replace(SPEC, dtype="float16", revision="f" * 40)
    kv = kv_of_numbers(spec, 6)
    back = decoded(encode_chunk(CODEC, kv, KEY, 0), spec, 6)
    assert all(torch.isfinite(keys).all() for keys in back.keys)


SENSELESS = ["best", "", 0.0, -1.0, 1e-320, 1e-37, 1e38, 1e300, float("inf"), float("nan"), None, 3, True]


@pytest.mark.parametrize("quality", SENSELESS)
def test_a_quality_that_makes_no_sense_is_refused(quality):
    with pytest.raises(CorruptFrame):
        codec_from("transform", {"profile": PROFILE.fingerprint, "quality": quality})


@pytest.mark.parametrize("step", [2.0**-100, 2.0**100])
def test_the_most_extreme_steps_decode(step):
    """Whatever they make of the numbers: the encoder refuses, or the decoder takes what it wrote."""
    kv = mapped(lambda tensor: tensor * step, kv_of_numbers(SPEC, 60))
    back = decoded(encode_chunk(Transform(PROFILE, step), kv, KEY, 4), SPEC, 60)
    assert all(torch.isfinite(values).all() for values in back.values)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("exponent", range(100, 127, 2))
@pytest.mark.parametrize("quality", ["small", "progressive", 2.0**20])
def test_numbers_as_large_as_they_come_are_refused_or_come_back(exponent, quality):
    spec = replace(SPEC, dtype="float32")
    kv = kv_of_numbers(spec, 9, scale=2.0**exponent / 16)
    try:
        frame = encode_chunk(Transform(PROFILE, quality), kv, KEY, 4)
    except ValueError:
        assert exponent > 110
        return
    back = decoded(frame, spec, 9)
    for ours, theirs in zip(kv.values, back.values, strict=True):
        assert (ours - theirs).abs().max() <= 1e-3 * ours.abs().max()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 2e38])
@pytest.mark.parametrize("token", [0, 3])
def test_numbers_it_cannot_code_are_refused_when_encoding(number, token):
    """Among the sinks, too."""
    kv = kv_of_numbers(SPEC, 4)
    kv.values[1][0, token, 3] = number
    with pytest.raises(ValueError, match="use lossless"):
        encode_chunk(CODEC, kv, KEY, 0)


@pytest.mark.filterwarnings("error:invalid value encountered in cast")
@pytest.mark.parametrize("signs", [[1], [1, -1]])
def test_numbers_whose_components_are_beyond_float32_are_refused_when_encoding(signs):
    def huge(tensor):
        return 9e37 * torch.tensor(signs).repeat(tensor.shape[2])[: tensor.shape[2]].expand(tensor.shape).to(tensor)

    kv = mapped(huge, kv_of_numbers(SPEC, 4))
    with pytest.raises(ValueError, match="use lossless"):
        encode_chunk(CODEC, kv, KEY, 4)
