"""The model of the package, or why it is not here."""

import functools
import os
import tempfile
from pathlib import Path

import pytest

from kvstore import MissingModel
from semantic_cache.minilm_weights import find_model
from semantic_cache.onnx_embedder import open_embedder


def model_files():
    return _or_skip(find_model)


@functools.cache
def cache_directory():
    """With the graph built, for this run."""
    kept = tempfile.TemporaryDirectory()
    _or_skip(lambda: open_embedder(Path(kept.name)))
    return kept


def real_embedder():
    """Opened as the service opens it."""
    return open_embedder(Path(cache_directory().name))


def _or_skip(call):
    """Skips where the model, or what runs it, is not installed, or fails if the environment demands it."""
    try:
        return call()
    except MissingModel as error:
        if os.environ.get("KVSTORE_REQUIRE_REAL_MODEL"):
            pytest.fail(str(error))
        pytest.skip(str(error))
