import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import MissingModel
from semantic_cache.minilm_file import is_whole, read_or_build, sealed
from tests.semantic_cache.minilm import cache_directory, model_files

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def built():
    return read_or_build(model_files(), Path(cache_directory().name))


def in_directory(directory):
    (path,) = directory.iterdir()
    return path


@given(content=st.binary(max_size=200), data=st.data())
def test_what_is_sealed_is_whole_until_it_is_cut_or_a_bit_flips(content, data):
    whole = sealed(content)
    assert is_whole(whole)
    assert not is_whole(whole[: data.draw(st.integers(0, len(whole) - 1))])
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not is_whole(bytes(flipped))


def test_the_file_is_one_that_any_tool_for_onnx_opens(built):
    model = onnx.load_from_string(built)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == ["xxh3"]


def test_it_is_read_when_it_is_there(tmp_path, built, monkeypatch):
    read_or_build(model_files(), tmp_path / "new")
    monkeypatch.setitem(sys.modules, "onnx", None)  # which only building needs
    assert read_or_build(model_files(), tmp_path / "new") == built
    with pytest.raises(MissingModel, match="pip install"):
        read_or_build(model_files(), tmp_path / "other")


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped"])
def test_a_damaged_file_is_built_again(tmp_path, built, damage):
    path = tmp_path / in_directory(Path(cache_directory().name)).name
    at = len(built) // 3
    damaged = {
        "cut": built[:at],
        "emptied": b"",
        "flipped": built[:at] + bytes([built[at] ^ 1]) + built[at + 1 :],
    }
    path.write_bytes(damaged[damage])
    assert read_or_build(model_files(), tmp_path) == built
    assert in_directory(tmp_path).read_bytes() == built


def test_processes_that_build_at_once_leave_one_whole_file(tmp_path, built):
    code = (
        "import sys; from pathlib import Path; from semantic_cache.minilm_file import read_or_build\n"
        "from semantic_cache.minilm_weights import find_model\n"
        "read_or_build(find_model(), Path(sys.argv[1]))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, tmp_path]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert in_directory(tmp_path).read_bytes() == built


def test_where_nothing_can_be_written_the_graph_is_built_all_the_same(tmp_path, built):
    (tmp_path / "file").write_bytes(b"")
    assert read_or_build(model_files(), tmp_path / "file" / "directory") == built
