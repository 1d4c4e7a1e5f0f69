"""Stores in RAM for the connector's tests."""

import pytest

from codec import Lossless
from connectors.hf import CachedModel
from kvstore import KVStore, MemoryTier

CHUNK_TOKENS = 8


@pytest.fixture
def store():
    with_memory = KVStore([MemoryTier(1 << 26)], Lossless(), chunk_tokens=CHUNK_TOKENS)
    yield with_memory
    with_memory.close()


@pytest.fixture
def wrap(store):
    """`wrap(model)` gives a CachedModel over the fixture's store, closed at the end of the test."""
    opened = []

    def wrapper(model, **options):
        opened.append(CachedModel(model, store, **options))
        return opened[-1]

    yield wrapper
    for cached in opened:
        cached.close()
