"""`lossless` gives back the bits it was given, whatever they are."""

import pytest
import torch

from codec import CorruptFrame, Frame, Lossless, encode_chunk
from codec.frame import pack
from tests.codec.contract import KEY, CodecContract, decoded
from tests.kv import SPEC, bits, kv_of_any_bits, kv_of_numbers, mapped


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


@pytest.mark.parametrize("plane", [b"", b"no zstd", b"\x28\xb5\x2f\xfd" + b"\xff" * 20])
def test_a_plane_that_does_not_decompress_is_a_corrupt_frame(plane):
    assert_high_plane_refused(plane)


@pytest.mark.parametrize("num_bytes", [0, 63, 65, 1 << 20])
def test_a_plane_of_another_length_is_a_corrupt_frame(num_bytes):
    compressor, _ = Lossless()._zstd()
    assert_high_plane_refused(compressor.compress(bytes(num_bytes)))


def test_a_plane_that_does_not_state_its_length_is_a_corrupt_frame():
    compressor, _ = Lossless()._zstd()
    stream = compressor.compressobj()
    assert_high_plane_refused(stream.compress(bytes(64)) + stream.flush())


def assert_high_plane_refused(plane):
    """A frame of four tokens, its checksums right, whose first plane holds these bytes."""
    whole = Frame(encode_chunk(Lossless(), kv_of_numbers(SPEC, 4), KEY, 0))
    sections = {name: whole.section(name, place.dtype, place.shape) for name, place in whole.header.sections.items()}
    sections["0.k.high"] = torch.frombuffer(bytearray(plane + b" "), dtype=torch.uint8)[:-1].numpy()
    frame = pack(SPEC, KEY, 0, 4, "lossless", {}, sections)
    with pytest.raises(CorruptFrame):
        decoded(frame, SPEC, 4)
