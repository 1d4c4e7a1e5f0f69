"""Frames that a sidecar takes: sound headers over any bytes, quickly made, and whole ones to be decoded."""

import numpy as np

from codec import Lossless, encode_chunk
from codec.frame import pack
from kvstore.testing import prompt
from tests.kv import SPEC, kv_of_numbers

TOKENS = 4


def sound(key, num_bytes=500, seed=0):
    """A frame of that key, somewhat longer than `num_bytes`, of which only the header is looked at."""
    random = np.random.default_rng([*key.digest[:8], seed])
    sections = {f"{layer}.all": random.integers(0, 256, num_bytes // 3 + 1, np.uint8) for layer in range(3)}
    return bytes(pack(SPEC, str(key), 0, TOKENS, "lossless", {}, sections))


def whole(key, codec=None, spec=SPEC, seed=0):
    """A frame of that key, and the KV that was encoded."""
    kv = kv_of_numbers(spec, TOKENS, seed)
    return bytes(encode_chunk(codec or Lossless(), kv, str(key), 0)), kv


def sound_prompt(name, num_chunks, num_bytes=500):
    """A prompt's keys and their frames."""
    keys = prompt(name, num_chunks)
    return keys, [sound(key, num_bytes) for key in keys]
