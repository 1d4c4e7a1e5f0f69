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
    KVArray,
    Lossless,
    MissingProfile,
    Profile,
    SpecMismatch,
    Transform,
    codec_from,
    decode_chunk,
    encode_chunk,
    register,
)
from codec.rotary import Rotary
from tests.codec.calibrated import DEAD_ZONE, SINKS, STEP, movable, profile_for
from tests.codec.contract import GOLDEN, KEY, CodecContract, decoded, seeds
from tests.codec.forge import ForgedFrame
from tests.kv import SPEC, bits, kv_of_numbers, mapped, specs

PROFILE = profile_for(SPEC)


def rows(tensor):
    return tensor.double().transpose(0, 1).flatten(1).numpy()


def assert_within_bound(basis, original, back, rotary, step, dtype):
    """Every component within (0.5 + dead zone) steps, plus what float32 and the spec's dtype round away."""
    x, y = (rows(rotary.take_off(part, SINKS)) for part in (original, back))
    analysis = basis.analysis.astype(np.float64)
    rounding = (np.abs(x) + np.abs(basis.mean) + 1) * (torch.finfo(dtype).eps + 2.0**-20)
    error = np.abs((x - y) @ analysis)
    assert (error <= (0.5 + DEAD_ZONE) * step + 4 * rounding @ np.abs(analysis)).all()


class TestTransform(CodecContract):
    codec = Transform(PROFILE)

    def codec_for(self, spec):
        spec = movable(spec)
        return Transform(profile_for(spec)), spec

    def check(self, original, back, step=STEP):
        profile = profile_for(original.spec)
        dtype = original.keys[0].dtype
        for layer in range(original.spec.num_layers):
            for part, theirs in (
                (original.keys[layer], back.keys[layer]),
                (original.values[layer], back.values[layer]),
            ):
                assert torch.equal(part[:, :SINKS], theirs[:, :SINKS])
            keys, values = (profile.keys[layer], profile.values[layer])
            rotary, none = profile.rotary[layer], Rotary(torch.empty(0))
            behind = slice(SINKS, None)
            parts = original.keys[layer][:, behind], back.keys[layer][:, behind]
            assert_within_bound(keys, *parts, rotary, step, dtype)
            parts = original.values[layer][:, behind], back.values[layer][:, behind]
            assert_within_bound(values, *parts, none, step, dtype)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
    def test_frames_of_earlier_releases_decode_to_the_same_bits(self, dtype):
        """To the same numbers, that is: matrix products differ in their last bits from one machine to another."""
        register(Profile.load(GOLDEN / "transform.profile.safetensors"))
        frame = Frame((GOLDEN / f"transform-{dtype}.safetensors").read_bytes())
        frame.verify()
        out = decoded((GOLDEN / f"transform-{dtype}.safetensors").read_bytes(), frame.header.spec, 5)
        expected = load_file(GOLDEN / f"transform-{dtype}.decoded.safetensors")
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
        assert error <= 20 * STEP + 1e-4 * kv.values[1].abs().amax()


def at(kv, start, to):
    """The KV as the model would have computed it at another position."""
    keys = tuple(
        Rotary.of(group).move(keys, start, to).to(keys.dtype)
        for group, keys in zip(kv.spec.group_of, kv.keys, strict=True)
    )
    return KVArray(kv.spec, keys, kv.values)


@pytest.mark.parametrize("start", [0, 16])
@pytest.mark.parametrize("to", [0, 5, 4000])
def test_keys_come_back_for_the_position_asked_for(start, to):
    spec = replace(SPEC, dtype="float32")
    kv, codec, out = kv_of_numbers(spec, 8), Transform(profile_for(spec)), KVArray.empty(spec, 8)
    frame = Frame(encode_chunk(codec, kv, KEY, start))
    here = KVArray.empty(spec, 8)
    decode_chunk(frame, here)
    decode_chunk(frame, out, to)
    for keys, expected in zip(out.keys, at(here, start, to).keys, strict=True):
        torch.testing.assert_close(keys, expected, rtol=0, atol=2e-4)
    assert bits(out)[1::2] == bits(here)[1::2]


def test_a_codec_that_keeps_keys_as_they_were_declines_to_move_them():
    frame = Frame(encode_chunk(Lossless(), kv_of_numbers(SPEC, 3), KEY, 8))
    with pytest.raises(ValueError, match="position 8"):
        decode_chunk(frame, KVArray.empty(SPEC, 3), 9)


def test_a_chunk_within_a_prompt_has_no_sinks():
    sections = Frame(encode_chunk(Transform(PROFILE), kv_of_numbers(SPEC, 4), KEY, 4)).header.sections
    assert list(sections) == ["0.kv", "1.kv", "2.kv"]


def test_a_profile_that_is_not_registered_is_missing():
    with pytest.raises(MissingProfile, match="0123"):
        codec_from("transform", {"profile": "0123" * 16})
    with pytest.raises(MissingProfile, match="calibrate"):
        codec_from("transform")


def test_another_models_kv_is_refused():
    other = replace(SPEC, groups=(replace(SPEC.groups[0], rotary={"rope_theta": 5e5}), SPEC.groups[1]))
    with pytest.raises(SpecMismatch):
        encode_chunk(Transform(PROFILE), kv_of_numbers(other, 3), KEY, 0)


def test_the_same_layers_in_another_precision_are_coded():
    spec = replace(SPEC, dtype="float16", revision="f" * 40)
    kv = kv_of_numbers(spec, 6)
    back = decoded(encode_chunk(Transform(PROFILE), kv, KEY, 0), spec, 6)
    assert all(torch.isfinite(keys).all() for keys in back.keys)


@pytest.mark.parametrize("quality", ["best", 0.0, -1.0, 1e-320, 1e300, float("inf"), float("nan"), None, 3, True])
def test_a_quality_that_makes_no_sense_is_refused(quality):
    with pytest.raises(CorruptFrame):
        codec_from("transform", {"profile": PROFILE.fingerprint, "quality": quality})


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 2e38])
def test_numbers_it_cannot_code_are_refused_when_encoding(number):
    kv = kv_of_numbers(SPEC, 4)
    kv.values[1][0, 3, 3] = number
    with pytest.raises(ValueError, match="use lossless"):
        encode_chunk(Transform(PROFILE), kv, KEY, 0)


@pytest.mark.parametrize("number", [np.nan, np.inf, 2e38])
def test_numbers_it_cannot_code_are_refused_among_the_exact_tokens_too(number):
    kv = kv_of_numbers(SPEC, 4)
    kv.keys[1][0, 0, 3] = number
    with pytest.raises(ValueError, match="use lossless"):
        encode_chunk(Transform(PROFILE), kv, KEY, 0)


def test_exact_tokens_that_are_not_finite_are_refused():
    frame = ForgedFrame.opened(encode_chunk(Transform(PROFILE), kv_of_numbers(SPEC, 4), KEY, 0))
    (sinks,) = (section for section in frame.sections if section.name == "1.sinks")
    sinks.content = b"\x80\x7f" + sinks.content[2:]
    with pytest.raises(CorruptFrame, match="finite"):
        decoded(frame.sealed(), SPEC, 4)


def test_escapes_that_cancel_each_other_beyond_float32_are_refused():
    huge = mapped(lambda tensor: tensor * 1e30, kv_of_numbers(SPEC, 5))
    codec = Transform(PROFILE, 1000.0)
    packed = Frame(encode_chunk(codec, huge, KEY, 4)).section("0.kv", np.uint8).copy()
    num_escapes = int(packed[:4].view("<u4")[0])
    packed[8 : 8 + 4 * num_escapes].view("<f4")[:] = np.where(np.arange(num_escapes) % 2, 3.4e38, -3.4e38)
    with pytest.raises(CorruptFrame, match="numbers"):
        codec.decode_layer(0, lambda *_: packed, torch.empty(2, 5, 8), torch.empty(2, 5, 4), 4, 4)


@given(packed=st.binary(max_size=200))
def test_a_hostile_layer_is_refused(packed):
    keys, values = torch.empty(2, 5, 8), torch.empty(2, 5, 4)
    with pytest.raises(CorruptFrame):
        CODEC.decode_layer(0, lambda *_: np.frombuffer(packed, np.uint8), keys, values, 4, 4)


CODEC = Transform(PROFILE)
LAYER = Frame(encode_chunk(CODEC, kv_of_numbers(SPEC, 5), KEY, 4)).section("0.kv", np.uint8)


@given(st.data())
def test_a_layer_that_was_tampered_with_is_refused_or_finite(data):
    packed = LAYER.copy()
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    packed = packed[: data.draw(st.integers(0, len(packed)))]
    keys, values = torch.empty(2, 5, 8), torch.empty(2, 5, 4)
    try:
        CODEC.decode_layer(0, lambda *_: packed, keys, values, 4, 4)
    except CorruptFrame:
        return
    assert torch.isfinite(keys).all()
    assert torch.isfinite(values).all()
