"""A frame is a safetensors file: the library of that name reads the same sections from it."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load

from codec import Frame, Int8, Lossless, encode_chunk
from tests.kv import SPEC, kv_of_numbers


@pytest.fixture(params=[Lossless(), Int8()], ids=lambda codec: codec.id)
def frame(request):
    return bytes(encode_chunk(request.param, kv_of_numbers(SPEC, 5), "ab" * 32, 15))


def test_the_library_reads_the_same_sections(frame):
    ours, theirs = Frame(frame), load(frame)
    assert theirs.keys() == ours.header.sections.keys()
    for name, array in theirs.items():
        section = ours.section(name, array.dtype, array.shape)
        assert np.array_equal(section.view(np.uint8), array.view(np.uint8))


def test_the_library_reads_our_metadata(frame, tmp_path):
    path = tmp_path / "chunk.safetensors"
    path.write_bytes(frame)
    with safe_open(path, framework="np") as opened:
        metadata = opened.metadata()
    assert metadata["key"] == "ab" * 32
    assert metadata["tokens"] == "15:20"
    assert metadata["spec"] == SPEC.to_json()


def test_sections_are_read_only_and_share_the_frames_bytes(frame):
    ours = Frame(frame)
    name, place = next(iter(ours.header.sections.items()))
    section = ours.section(name, place.dtype, place.shape)
    assert not section.flags.writeable
    assert np.shares_memory(section, np.frombuffer(frame, np.uint8))
