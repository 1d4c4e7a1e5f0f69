import os
import subprocess
import sys

import numpy as np
import pytest

from semantic_cache.lexical_embedder import LexicalEmbedder
from tests.semantic_cache.contracts_embedder import EmbedderContract


@pytest.fixture(scope="module")
def embedder():
    return LexicalEmbedder()


class TestLexicalEmbedder(EmbedderContract):
    pass


def test_case_and_order_and_marks_do_not_matter(embedder):
    one, other = embedder.embed(["Rice, or noodles?", "noodles or RICE"])
    assert np.array_equal(one, other)


def test_texts_without_words_are_all_alike(embedder):
    assert np.array_equal(*embedder.embed(["", "?!"]))


def test_another_process_finds_the_same_vector(embedder):
    code = (
        "import sys; from semantic_cache.lexical_embedder import LexicalEmbedder\n"
        "sys.stdout.buffer.write(LexicalEmbedder().embed(['Rice or noodles?']).tobytes())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=os.environ | {"PYTHONHASHSEED": "7"}
    )
    assert run.stdout == embedder.embed(["Rice or noodles?"]).tobytes()


def test_the_vectors_are_those_of_its_version(embedder):
    """Where this fails, the vectors that people keep are no longer these: raise the version."""
    (vector,) = embedder.embed(["Rice"])
    assert np.flatnonzero(vector).tolist() == [31, 144, 171, 233, 345, 357, 392, 421, 434, 468]
    assert np.flatnonzero(vector > 0).tolist() == [171, 468]


def test_the_fingerprint_says_the_dimension():
    assert LexicalEmbedder(64).fingerprint != LexicalEmbedder(65).fingerprint
    assert LexicalEmbedder(64).embed(["a"]).shape == (1, 64)
