"""Frames in device memory decode there, to what the CPU makes of them; interpreted where there is no GPU."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from codec import (
    CorruptFrame,
    Frame,
    Int4,
    Int8,
    KVArray,
    Lossless,
    Transform,
    decode_chunk,
    decode_chunk_on_device,
    encode_chunk,
)
from codec.emphasis import step_factors
from tests.codec.calibrated import SINKS, movable, profile_for
from tests.codec.contract import KEY, decoded
from tests.codec.forge import ForgedFrame
from tests.codec.test_transform import channels, classes_of
from tests.device import DEVICE, on_device, to_cpu
from tests.kv import SPEC, bits, kv_of_any_bits, kv_of_mostly_numbers, kv_of_numbers

pytest.importorskip("triton", reason="Triton is not installed")
PROFILE = profile_for(SPEC)
FLOAT32 = replace(SPEC, dtype="float32")


def decoded_on_device(frame, spec, num_tokens, start=None):
    out = KVArray.empty(spec, num_tokens, DEVICE)
    assert decode_chunk_on_device(on_device(frame), out, start)
    return to_cpu(out)


def assert_as_near_as_promised(frame, ours, theirs, codec, start):
    """`transform_device`: 2^-15 of a channel's largest number times the token's components, and float32's rounding."""
    frame, exact = Frame(frame), SINKS if start == 0 else 0
    classes = classes_of(codec._profile, frame, ours.num_tokens - exact)
    for index, band in enumerate(codec._profile.bands):
        _, multiples = codec._read_multiples(index, frame.section, classes[index])
        components = np.abs(multiples * codec._step * step_factors(classes[index])).sum(axis=1, keepdims=True)
        largest = np.concatenate([np.abs(basis.synthesis).max(axis=0) for basis in band.bases])
        x, y = (channels(codec._profile, band, kv, start, exact) for kv in (ours, theirs))
        assert (np.abs(x - y) <= components * largest * 2.0**-15 + 2e-5 * (1 + np.abs(x))).all()


@pytest.mark.parametrize("quality", ["balanced", 0.01, 30.0, "progressive"])
@pytest.mark.parametrize("start", [0, 16])
def test_transform_is_as_near_to_the_cpu_as_promised(quality, start):
    """Steps of 0.01 have far escapes, those of 30 hardly a component that is not zero."""
    kv, codec = kv_of_numbers(FLOAT32, 20, seed=3), Transform(PROFILE, quality)
    frame = bytes(encode_chunk(codec, kv, KEY, start))
    on_cpu, there = decoded(frame, FLOAT32, 20), decoded_on_device(frame, FLOAT32, 20)
    assert_as_near_as_promised(frame, on_cpu, there, codec, start)
    exact = SINKS if start == 0 else 0
    assert bits(there.tokens(0, exact)) == bits(on_cpu.tokens(0, exact))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_transform_in_half_precision_is_the_cpus_within_its_rounding(dtype):
    spec = replace(SPEC, dtype=dtype)
    frame = bytes(encode_chunk(Transform(PROFILE), kv_of_numbers(spec, 12), KEY, 16))
    on_cpu, there = decoded(frame, spec, 12), decoded_on_device(frame, spec, 12)
    eps = torch.finfo(getattr(torch, dtype)).eps
    for one, other in zip((*on_cpu.keys, *on_cpu.values), (*there.keys, *there.values), strict=True):
        torch.testing.assert_close(other, one, rtol=2 * eps, atol=2e-3)


@pytest.mark.parametrize("blocks", ["part", "head"])
@pytest.mark.parametrize("quality", ["balanced", "progressive"])
def test_bases_of_any_channels_do(blocks, quality):
    codec = Transform(profile_for(SPEC, blocks), quality)
    frame = bytes(encode_chunk(codec, kv_of_numbers(FLOAT32, 9), KEY, 4))
    assert_as_near_as_promised(frame, decoded(frame, FLOAT32, 9), decoded_on_device(frame, FLOAT32, 9), codec, 4)


@pytest.mark.parametrize("start", [0, 16])
@pytest.mark.parametrize("to", [0, 4000])
def test_keys_come_for_the_position_asked_for(start, to):
    spec = movable(FLOAT32)
    frame = bytes(encode_chunk(Transform(profile_for(spec)), kv_of_numbers(spec, 8), KEY, start))
    on_cpu = KVArray.empty(spec, 8)
    decode_chunk(Frame(frame), on_cpu, to)
    there = decoded_on_device(frame, spec, 8, to)
    for one, other in zip((*on_cpu.keys, *on_cpu.values), (*there.keys, *there.values), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=5e-3)


@pytest.mark.parametrize("num_tokens", [1, SINKS])
def test_nothing_but_sinks_comes_back_exactly(num_tokens):
    kv = kv_of_numbers(SPEC, num_tokens)
    frame = bytes(encode_chunk(Transform(PROFILE), kv, KEY, 0))
    assert bits(decoded_on_device(frame, SPEC, num_tokens)) == bits(kv)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_int8_gives_the_cpus_bits(dtype):
    spec = replace(SPEC, dtype=dtype)
    frame = bytes(encode_chunk(Int8(), kv_of_numbers(spec, 7), KEY, 0))
    assert bits(decoded_on_device(frame, spec, 7)) == bits(decoded(frame, spec, 7))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("make", [kv_of_numbers, kv_of_mostly_numbers, kv_of_any_bits])
def test_lossless_gives_back_every_bit(dtype, make):
    kv = make(replace(SPEC, dtype=dtype), 21, 5)
    assert bits(decoded_on_device(bytes(encode_chunk(Lossless(), kv, KEY, 0)), kv.spec, 21)) == bits(kv)


def test_a_part_of_a_larger_array_is_filled_and_nothing_else():
    frame = bytes(encode_chunk(Lossless(), kv_of_numbers(SPEC, 5), KEY, 0))
    room = KVArray.empty(SPEC, 12, DEVICE)
    for tensor in (*room.keys, *room.values):
        tensor.fill_(7)
    assert decode_chunk_on_device(on_device(frame), room.tokens(4, 9))
    assert bits(to_cpu(room.tokens(4, 9))) == bits(decoded(frame, SPEC, 5))
    outside = [*to_cpu(room.tokens(0, 4)).keys, *to_cpu(room.tokens(9, 12)).values]
    assert all((tensor == 7).all() for tensor in outside)


def test_a_codec_that_cannot_declines():
    frame = bytes(encode_chunk(Int4(), kv_of_numbers(SPEC, 3), KEY, 0))
    assert not decode_chunk_on_device(on_device(frame), KVArray.empty(SPEC, 3, DEVICE))


@pytest.mark.parametrize("codec", [Lossless(), Transform(PROFILE)])
def test_without_triton_it_is_declined(codec, monkeypatch):
    monkeypatch.setattr(f"codec.{codec.id}.HAS_TRITON", False)
    frame = bytes(encode_chunk(codec, kv_of_numbers(SPEC, 3), KEY, 0))
    assert not decode_chunk_on_device(on_device(frame), KVArray.empty(SPEC, 3, DEVICE))


def test_without_memory_on_the_device_it_is_declined(monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Int8, "decode_on_device", no_memory)
    frame = bytes(encode_chunk(Int8(), kv_of_numbers(SPEC, 3), KEY, 0))
    assert not decode_chunk_on_device(on_device(frame), KVArray.empty(SPEC, 3, DEVICE))


FORGED = [
    (Int8(), 0),
    (Lossless(), 0),
    (Transform(PROFILE), 0),
    (Transform(PROFILE, 0.02), 4),
    (Transform(PROFILE, "progressive"), 4),
]


def outcome(decode, frame):
    """What a frame decodes to, or None when it is refused."""
    try:
        return decode(frame, FLOAT32, 5)
    except CorruptFrame:
        return None


@pytest.mark.parametrize(("codec", "start"), FORGED, ids=["int8", "lossless", "transform", "fine", "progressive"])
def test_forged_sections_are_refused_where_the_cpu_refuses_them(codec, start):
    """Every section in turn cut, emptied, and with bytes changed; its checksum right each time."""
    random = np.random.default_rng(start)
    whole = ForgedFrame.opened(bytes(encode_chunk(codec, kv_of_numbers(FLOAT32, 5, seed=2), KEY, start)))
    refused = 0
    for index, section in enumerate(whole.sections):
        for change in ("cut", "empty", "byte", "byte"):
            forged = whole.copy()
            content = bytearray(section.content)
            if change == "byte" and content:
                content[random.integers(min(len(content), 80))] ^= 1 << random.integers(8)
            elif section.dtype == "U8" and len(section.shape) == 1:
                del content[len(content) // 2 if change == "cut" else 0 :]
                forged.sections[index].shape = [len(content)]
            forged.sections[index].content = bytes(content)
            on_cpu, there = (outcome(decode, forged.sealed()) for decode in (decoded, decoded_on_device))
            assert (on_cpu is None) == (there is None), (section.name, change)
            refused += on_cpu is None
            for one, other in zip(on_cpu.keys + on_cpu.values, there.keys + there.values, strict=True) if there else ():
                largest = float(one.nan_to_num(0, 0, 0).abs().max())
                torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3 * largest, equal_nan=True)
    assert refused >= 2 or codec.id == "int8"


def test_the_kernel_compiles_for_gpus_that_are_not_here():
    """Types are checked by the compiler; the interpreter lets more pass."""
    compiling = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from codec.rans_gpu import _decode_kernel
types = dict(zip(_decode_kernel.arg_names, "*u8 *i64 *i32 *i32 *u32 *u8 *i32 constexpr".split(), strict=True))
for capability in (80, 90):
    source = ASTSource(_decode_kernel, types, {"LANES": 64})
    assert compile(source, GPUTarget("cuda", capability, 32), {"num_warps": 1}).asm["cubin"]
"""
    environ = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", compiling], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
