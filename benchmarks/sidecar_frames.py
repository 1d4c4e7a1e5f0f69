"""Frames for the sidecar's benchmark, in files of their own: whoever is measured is given the same bytes.

A frame is one chunk of a model of 36 layers whose keys and values were coded apart: 72 sections under a whole header,
as a codec of ours leaves them. The sections' bytes are random, which costs a service what coded ones cost, since
nothing that is measured here looks inside; a frame's header has its key, so that no two frames are the same.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchmarks.disk_speed import key_of
from codec import KVSpec, LayerGroup
from codec.frame import pack

_NUM_LAYERS, _CHUNK_TOKENS = 36, 128
_SPEC = KVSpec(
    model="benchmark/36-layers",
    revision=hashlib.sha256(b"benchmark").hexdigest(),
    dtype="bfloat16",
    groups=(LayerGroup(tuple(range(_NUM_LAYERS)), 8, 128, 128, rotary={"rope_theta": 1e6}),),
)


def write_frames(directory: Path, name: str, size_bytes: int, number: int) -> list[str]:
    """So many frames of nearly that size, each in a file that is named by its key; the keys, in hex."""
    keys = [str(key_of((name, index))) for index in range(number)]
    directory.mkdir(parents=True, exist_ok=True)
    for index, key in enumerate(keys):
        (directory / key).write_bytes(frame(key, index, size_bytes))
    return keys


def frame(key: str, seed: int, size_bytes: int) -> bytearray:
    """A few KiB longer than that: its header."""
    length = size_bytes // (2 * _NUM_LAYERS)
    random = np.random.default_rng(seed).integers(0, 256, (2 * _NUM_LAYERS, length), np.uint8)
    names = [f"{layer}.{name}" for layer in range(_NUM_LAYERS) for name in ("keys", "values")]
    return pack(_SPEC, key, 0, _CHUNK_TOKENS, "transform", {}, dict(zip(names, random, strict=True)))
