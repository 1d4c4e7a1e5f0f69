"""ChunkKey: golden values, which must never change, and one that makes no sense."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from kvstore import ChunkKey, Identity, InvalidRequest, LoRA, Multimodal, chunk_keys
from tests.kv import SPEC

PLAIN = Identity(SPEC, "lossless{}", 4)
RICH = Identity(SPEC, "lossless{}", 4, "alice", LoRA("chat", "/adapters/chat"))
PLAIN_KEYS = [
    "30d690d4f04a56d0b415686f207cce28f94827da44feaf223de422c2336c7bfb",
    "417ca9a0bdff1c0398e296c7b881e0006d484e696f462fba3cb1b8a6c110d63a",
]
RICH_KEYS = [
    "5c21f2c16fed5274d1bef1c58c23323e9c3335b401d512bb3a16722c29569d79",
    "47fbe86673e1328faadeb6b6915bf87d6107b1d1a03125e38202f52e246418e8",
]


def hexes(keys):
    return [str(key) for key in keys]


def test_keys_never_change_between_releases():
    assert hexes(chunk_keys(PLAIN, range(8))) == PLAIN_KEYS
    assert hexes(chunk_keys(RICH, range(8), [Multimodal("f00d", 2, 6)])) == RICH_KEYS


@pytest.mark.parametrize("seed", ["0", "12345"])
def test_keys_are_the_same_in_a_process_with_another_hash_seed(seed):
    code = "from tests.kvstore.test_key import *; print(*hexes(chunk_keys(RICH, range(8), [Multimodal('f00d', 2, 6)])))"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == RICH_KEYS


def test_a_last_partial_chunk_has_no_key():
    assert [len(chunk_keys(PLAIN, range(n))) for n in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    "same",
    [
        tuple(range(8)),
        np.arange(8, dtype=np.int64),
        np.arange(8, dtype=np.uint8),
        np.arange(16)[::2] // 2,
        torch.arange(8),
        torch.arange(8, dtype=torch.int32),
    ],
    ids=["tuple", "int64", "uint8", "strided", "torch int64", "torch int32"],
)
def test_token_ids_of_any_integer_kind_have_the_same_keys(same):
    assert hexes(chunk_keys(PLAIN, same)) == PLAIN_KEYS


def test_the_largest_token_id_has_a_key():
    assert len(chunk_keys(PLAIN, [0, 2**32 - 1, 0, 0])) == 1


BAD_TOKEN_IDS = {
    "negative": [0, 1, 2, -1],
    "33 bits": [0, 1, 2, 2**32],
    "64 bits": [0, 1, 2, 2**63],
    "negative and 64 bits": [-1, 1, 2, 2**63],
    "70 bits": [0, 1, 2, 2**70],
    "floats": [0.0, 1.0, 2.0, 3.0],
    "booleans": [True, False, True, False],
    "text": "abcd",
    "words": ["a", "b", "c", "d"],
    "none": [None] * 4,
    "nested": [[0, 1, 2, 3]],
    "nested and empty": [[]],
    "ragged": [[0, 1], [2]],
    "a number": 4,
}


@pytest.mark.parametrize("token_ids", BAD_TOKEN_IDS.values(), ids=BAD_TOKEN_IDS)
def test_bad_token_ids_are_an_invalid_request(token_ids):
    with pytest.raises(InvalidRequest):
        chunk_keys(PLAIN, token_ids)


def test_hex_brings_back_the_key():
    assert hexes([ChunkKey.from_hex(text) for text in PLAIN_KEYS]) == PLAIN_KEYS


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, "ab" * 31, "ab" * 33])
def test_text_that_is_no_key_is_an_invalid_request(text):
    with pytest.raises(InvalidRequest):
        ChunkKey.from_hex(text)
