"""A frame decodes into the KV it was made of, or says why not."""

from dataclasses import replace

import pytest

from codec import (
    CorruptFrame,
    Frame,
    KVArray,
    Lossless,
    SpecMismatch,
    UnknownCodec,
    bytes_needed,
    codec_class,
    decode_chunk,
    decode_layers,
    encode_chunk,
    read_header,
)
from tests.codec.forge import forged
from tests.kv import SPEC, bits, kv_of_numbers

FRAME = encode_chunk(Lossless(), kv_of_numbers(SPEC, 4), "cd" * 32, start=8)


def test_the_header_says_what_the_frame_holds():
    header = read_header(FRAME)
    assert (header.key, header.start, header.end, header.num_tokens) == ("cd" * 32, 8, 12, 4)
    assert (header.codec, header.codec_params, header.spec) == ("lossless", {}, SPEC)
    assert header.num_bytes == len(FRAME)


def test_the_header_reads_without_the_sections():
    header = read_header(FRAME)
    body_start = min(section.start for section in header.sections.values())
    assert read_header(FRAME[:body_start]) == header


def test_sections_lie_in_layer_order():
    layers = [int(name.split(".")[0]) for name in read_header(FRAME).sections]
    assert layers == sorted(layers)


def test_layers_are_decoded_from_the_bytes_that_have_come():
    header, out = read_header(FRAME), KVArray.empty(SPEC, 4)
    for num_layers in range(1, SPEC.num_layers + 1):
        end = max(section.end for name, section in header.sections.items() if int(name.split(".")[0]) < num_layers)
        layers = decode_layers(Frame.begun(FRAME[:end]), out)
        assert [next(layers) for _ in range(num_layers)] == [*range(1, num_layers + 1)]
        if num_layers < SPEC.num_layers:
            with pytest.raises(CorruptFrame, match="missing"):
                next(layers)
    assert bits(out) == bits(kv_of_numbers(SPEC, 4))


def test_a_frame_that_has_begun_has_a_whole_header():
    body_start = min(section.start for section in read_header(FRAME).sections.values())
    assert Frame.begun(FRAME[:body_start]).header == read_header(FRAME)
    with pytest.raises(CorruptFrame, match="header"):
        Frame.begun(FRAME[: body_start - 1])
    with pytest.raises(CorruptFrame, match="long"):
        Frame(FRAME[:-1])


def test_all_bytes_are_needed_of_a_frame_of_one_quality():
    assert bytes_needed(read_header(FRAME)) == len(FRAME)


@pytest.mark.parametrize("change", [{"model": "other"}, {"dtype": "float16"}, {"tp_size": 2}])
def test_another_models_frame_is_a_spec_mismatch(change):
    with pytest.raises(SpecMismatch):
        decode_chunk(Frame(FRAME), KVArray.empty(replace(SPEC, **change), 4))


@pytest.mark.parametrize("num_tokens", [0, 1, 3, 5])
def test_a_frame_of_another_length_is_a_corrupt_frame(num_tokens):
    with pytest.raises(CorruptFrame):
        decode_chunk(Frame(FRAME), KVArray.empty(SPEC, num_tokens))


def test_an_unknown_codec_is_named_together_with_those_there_are():
    frame = forged(FRAME, lambda entries: entries["__metadata__"].update(codec="from-the-future"))
    with pytest.raises(UnknownCodec, match=r"from-the-future.*int8, lossless"):
        decode_chunk(Frame(frame), KVArray.empty(SPEC, 4))
    with pytest.raises(UnknownCodec):
        codec_class("")


def test_names_nobody_knows_do_not_look_through_every_package_again(monkeypatch):
    with pytest.raises(UnknownCodec):
        codec_class("")
    monkeypatch.setattr("codec.registry.entry_points", None)
    with pytest.raises(UnknownCodec):
        codec_class("from-the-future")


def test_a_fingerprint_that_is_not_the_specs_is_a_corrupt_frame():
    frame = Frame(forged(FRAME, lambda entries: entries["__metadata__"].update(spec_fingerprint="0" * 64)))
    with pytest.raises(CorruptFrame):
        frame.verify()
