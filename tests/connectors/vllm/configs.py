"""A vLLM configuration for a checkpoint directory, with settings changed by name; skips where vLLM is not installed."""

from types import SimpleNamespace

import pytest


def vllm_config(directory, dtype="float32", **changes):
    """`changes` go to whichever of the four parts has the field; nothing is loaded."""
    config = pytest.importorskip("vllm.config", reason="vLLM is not installed")
    parts = SimpleNamespace(
        model_config=config.ModelConfig(model=str(directory), dtype=dtype, skip_tokenizer_init=True),
        parallel_config=config.ParallelConfig(),
        cache_config=config.CacheConfig(),
        load_config=config.LoadConfig(),
    )
    for name, value in changes.items():
        part = next(part for part in vars(parts).values() if hasattr(part, name))
        object.__setattr__(part, name, value)
    return parts
