"""The frames, profiles and streams that fuzzing begins with: some as encoders write them, some as only a liar would."""

import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from codec import CorruptFrame, KVArray, KVSpec, LayerGroup, encode_chunk, rans
from codec.band import BLOCKS
from codec.column_tables import ColumnTables
from tests.codec.calibrated import movable, profile_for
from tests.kv import kv_of_numbers, mapped

_GROUPS = (
    LayerGroup((0,), kv_heads=2, key_dim=4, value_dim=2, rotary={"rope_theta": 10000.0}),
    LayerGroup((1,), kv_heads=1, key_dim=6, value_dim=3, window=16),
)
SPECS = tuple(
    movable(KVSpec("tests/fuzz", "0" * 40, dtype, groups))
    for dtype, groups in (
        ("bfloat16", _GROUPS[:1]),
        ("float16", _GROUPS[:1]),
        ("float32", _GROUPS[:1]),
        ("bfloat16", _GROUPS),
    )
)
_KEY = "ab" * 32
_TOKENS = ((1, 0), (12, 0), (12, 24))
"""Number of tokens, and where they start."""


def frames_of(codec_for, specs=SPECS):
    """Frames by `codec_for(spec)`: ordinary KV, hardly any, huge, all alike, and what dishonest encoders make of it."""
    return [
        bytes(frame)
        for spec in specs
        for num_tokens, start in _TOKENS
        for frame in _of_one_shape(codec_for(spec), spec, num_tokens, start)
    ]


def _of_one_shape(codec, spec, num_tokens, start):
    largest = 6e4 if spec.dtype == "float16" else 1e36
    for scale in (1.0, 1e-4, largest / 20):
        yield encode_chunk(codec, kv_of_numbers(spec, num_tokens, seed=1, scale=scale), _KEY, start)
    zeros = mapped(lambda tensor: tensor.zero_(), KVArray.empty(spec, num_tokens))
    yield encode_chunk(codec, zeros, _KEY, start)
    for seed in range(3):
        with _dishonest_choices(seed):
            yield encode_chunk(codec, kv_of_numbers(spec, num_tokens, seed=2), _KEY, start)
    with _dishonest_symbols(seed=4), suppress(CorruptFrame):  # refinements are of what a decoder reads, so it reads
        yield encode_chunk(codec, kv_of_numbers(spec, num_tokens, seed=3), _KEY, start)


@contextmanager
def _dishonest_choices(seed):
    """Columns are declared zero that are not, and have any table but the cheapest."""
    random = np.random.default_rng(seed)

    def choose(tables, symbols, classes, expected):
        chosen = random.integers(0, len(tables.frequencies) + 1, len(expected))
        return (chosen * random.integers(0, 2, len(expected))).astype(np.uint8)

    with patch.object(ColumnTables, "choose", choose):
        yield


@contextmanager
def _dishonest_symbols(seed):
    """Proper streams of improper symbols, wherever a codec calls the entropy coder: any up to the largest there is."""
    random, honest = np.random.default_rng(seed), rans.encode

    def encode(symbols, table_of_column, tables, *lanes, **rows):
        lies = random.integers(0, symbols.max(initial=0) + 1, symbols.shape).astype(np.uint8)
        return honest(lies, table_of_column, tables, *lanes, **rows)

    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("codec.") and getattr(module, "encode", None) is honest:
                stack.enter_context(patch.object(module, "encode", encode))
        yield


def profiles():
    """Profiles' content, small ones: for every spec, and for one whose rotary embedding takes parameters."""
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    llama3 = {**yarn, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    turned = [replace(SPECS[0], groups=(replace(_GROUPS[0], rotary=rotary),)) for rotary in (yarn, llama3)]
    return [
        profile_for(SPECS[0]),
        *(profile_for(SPECS[3], blocks) for blocks in BLOCKS),
        *(replace(profile_for(SPECS[0]), spec=spec) for spec in turned),
    ]
