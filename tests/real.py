"""The real model, the real data, and what to do where they are not."""

import functools
import os
from pathlib import Path

import pytest

from connectors.hf.models import demo_model_dir, load_model
from kvstore import InvalidRequest

DATA = Path(os.environ.get("KVSTORE_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data")


def data_file(name):
    """A file of the evaluation data; skips the test where the data is not."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here; KVSTORE_DATA names the folder of the evaluation data")
    return path


@functools.cache
def real_model(dtype):
    """The demo model and its tokenizer. Skips where it cannot be had, or fails if the environment demands it."""
    try:
        return load_model(demo_model_dir(), dtype)
    except InvalidRequest as error:
        if os.environ.get("KVSTORE_REQUIRE_REAL_MODEL"):
            pytest.fail(str(error))
        pytest.skip(str(error))
