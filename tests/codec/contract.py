"""What every codec promises, tested through the frame as the store uses it. Inherit, and name the codec."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from codec import CorruptFrame, Frame, KVArray, codec_from, decode_chunk, decode_layers, encode_chunk
from tests.codec.forge import forged
from tests.kv import SPEC, bits, kv_of_numbers, mapped, specs, tensors

GOLDEN = Path(__file__).parent / "golden"
KEY = "ab" * 32
seeds = st.integers(0, 2**32 - 1)


def decoded(frame, spec, num_tokens):
    out = KVArray.empty(spec, num_tokens)
    decode_chunk(Frame(frame), out)
    return out


class CodecContract:
    """`codec` is under test; `kv` makes what it can code, `check` says whether it came back as promised."""

    codec = None
    golden = None
    """The name golden files begin with; the codec's id where a class names none."""

    def codec_for(self, spec):
        """The codec under test for a spec, and that spec as far as such a codec takes it."""
        return self.codec, spec

    def kv(self, spec, num_tokens, seed):
        return kv_of_numbers(spec, num_tokens, seed)

    def check(self, original, back):
        raise NotImplementedError

    @given(spec=specs(), num_tokens=st.integers(1, 20), seed=seeds)
    def test_what_was_encoded_comes_back_as_promised(self, spec, num_tokens, seed):
        codec, spec = self.codec_for(spec)
        kv = self.kv(spec, num_tokens, seed)
        self.check(kv, decoded(encode_chunk(codec, kv, KEY, 0), spec, num_tokens))

    def test_encoding_twice_gives_the_same_bytes(self):
        kv = self.kv(SPEC, 5, seed=1)
        assert encode_chunk(self.codec, kv, KEY, 0) == encode_chunk(self.codec, kv, KEY, 0)

    def test_memory_layout_of_the_input_does_not_change_the_frame(self):
        kv = self.kv(SPEC, 5, seed=2)
        token_major = mapped(lambda tensor: tensor.transpose(0, 1).contiguous().transpose(0, 1), kv)
        dim_major = mapped(lambda tensor: tensor.permute(2, 1, 0).contiguous().permute(2, 1, 0), kv)
        frame = encode_chunk(self.codec, kv, KEY, 0)
        assert encode_chunk(self.codec, token_major, KEY, 0) == frame
        assert encode_chunk(self.codec, dim_major, KEY, 0) == frame

    def test_a_slice_of_a_larger_array_is_encoded_as_its_copy(self):
        whole = self.kv(SPEC, 12, seed=3)
        part = whole.tokens(4, 9)
        assert encode_chunk(self.codec, part, KEY, 4) == encode_chunk(self.codec, mapped(torch.clone, part), KEY, 4)

    def test_decoding_into_a_slice_leaves_its_neighbours_alone(self):
        kv, room = self.kv(SPEC, 5, seed=4), kv_of_numbers(SPEC, 12, seed=5)
        before = mapped(torch.clone, room)
        decode_chunk(Frame(encode_chunk(self.codec, kv, KEY, 0)), room.tokens(4, 9))
        self.check(kv, room.tokens(4, 9))
        assert bits(room.tokens(0, 4)) == bits(before.tokens(0, 4))
        assert bits(room.tokens(9, 12)) == bits(before.tokens(9, 12))

    def test_decoding_into_any_memory_layout_gives_the_same_bits(self):
        frame = Frame(encode_chunk(self.codec, self.kv(SPEC, 5, seed=6), KEY, 0))
        plain = KVArray.empty(SPEC, 5)
        decode_chunk(frame, plain)
        for order in ((1, 0, 2), (2, 1, 0), (0, 2, 1)):
            out = mapped(lambda tensor, order=order: tensor.permute(order).contiguous().permute(order), plain)
            for tensor in tensors(out):
                tensor.zero_()
            decode_chunk(frame, out)
            assert bits(out) == bits(plain)

    def test_a_layer_is_final_when_it_is_said_to_be_there(self):
        kv = self.kv(SPEC, 5, seed=9)
        frame, out, there = Frame(encode_chunk(self.codec, kv, KEY, 0)), KVArray.empty(SPEC, 5), [0]
        expected = bits(decoded(bytes(encode_chunk(self.codec, kv, KEY, 0)), SPEC, 5))
        for num_layers in decode_layers(frame, out):
            assert bits(out)[: 2 * num_layers] == expected[: 2 * num_layers]
            there.append(num_layers)
        assert there == sorted(set(there))
        assert there[-1] == SPEC.num_layers

    def test_a_frame_over_read_only_bytes_decodes(self):
        kv = self.kv(SPEC, 3, seed=7)
        frame = bytes(encode_chunk(self.codec, kv, KEY, 0))
        self.check(kv, decoded(memoryview(frame).toreadonly(), SPEC, 3))

    def test_every_section_is_needed(self):
        frame = encode_chunk(self.codec, self.kv(SPEC, 3, seed=8), KEY, 0)
        for name in Frame(frame).header.sections:

            def rename(entries, name=name):
                entries["other"] = entries.pop(name)
                order = sorted(entries, key=lambda entry: entries[entry].get("data_offsets", [-1]))
                for entry in order:
                    entries[entry] = entries.pop(entry)

            with pytest.raises(CorruptFrame):
                decoded(forged(frame, rename), SPEC, 3)

    def test_parameters_rebuild_the_codec(self):
        again = codec_from(self.codec.id, self.codec.params())
        assert type(again) is type(self.codec)
        assert again.identity() == self.codec.identity()

    def test_parameters_that_make_no_sense_are_refused(self):
        with pytest.raises(CorruptFrame):
            codec_from(self.codec.id, {"level of nonsense": 3})

    def test_one_codec_serves_many_threads(self):
        arrays = [self.kv(SPEC, 4, seed) for seed in range(16)]
        expected = [encode_chunk(self.codec, kv, KEY, 0) for kv in arrays]
        with ThreadPoolExecutor(4) as threads:
            frames = list(threads.map(lambda kv: encode_chunk(self.codec, kv, KEY, 0), arrays))
            back = list(threads.map(lambda frame: decoded(frame, SPEC, 4), frames))
        assert frames == expected
        for kv, out in zip(arrays, back, strict=True):
            self.check(kv, out)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
    def test_frames_of_earlier_releases_decode_to_the_same_bits(self, dtype):
        name = f"{self.golden or self.codec.id}-{dtype}"
        frame = Frame((GOLDEN / f"{name}.safetensors").read_bytes())
        frame.verify()
        out = KVArray.empty(frame.header.spec, frame.header.num_tokens)
        decode_chunk(frame, out)
        expected = load_file(GOLDEN / f"{name}.decoded.safetensors")
        stored = [expected[f"{layer}.{name}"] for layer in range(out.spec.num_layers) for name in ("keys", "values")]
        assert bits(out) == [tensor.view(torch.uint8).numpy().tobytes() for tensor in stored]
