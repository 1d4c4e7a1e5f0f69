"""Time to first token with and without the store: what the demo shows and the benchmark measures.

The reference for "the same tokens" computes the context and then the question, in one process, as a
request that finds the context does. A single pass over both differs from that by the shapes of its
matrix products alone, which in low precision is sometimes enough for another token.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from connectors.hf.cached_model import CachedModel
from connectors.hf.models import load_model
from connectors.page_cache import drop_from_page_cache
from kvstore import DiskReader, KVStore, codec_in


@dataclass(frozen=True)
class NewProcessCase:
    """One request to be made in a process that has never seen the store."""

    store: str
    codec: str
    input_ids: list[int]
    max_new_tokens: int
    codec_params: dict[str, Any] = field(default_factory=dict)
    """A profile among them is found in the store."""


@dataclass(frozen=True)
class NewProcessResult:
    """`open_s`: opening the store. `first_token_s`: from `generate` to the first token. `token_ids`: the answer."""

    open_s: float
    first_token_s: float
    tokens_loaded: int
    token_ids: list[int]


def first_token_s(model: Any, input_ids: torch.Tensor, **kwargs: Any) -> float:
    """Seconds from calling `generate` to having one greedy token."""
    started = time.perf_counter()
    model.generate(input_ids, max_new_tokens=1, do_sample=False, **kwargs)
    return time.perf_counter() - started


def answer(model: Any, input_ids: torch.Tensor, num_tokens: int, **kwargs: Any) -> list[int]:
    """`num_tokens` greedy tokens, going on past any end-of-sequence token."""
    options = {"max_new_tokens": num_tokens, "min_new_tokens": num_tokens, "do_sample": False}
    sequence = model.generate(input_ids, **options, **kwargs)[0].tolist()
    return list(sequence[input_ids.shape[1] :])


@torch.no_grad()
def computed_context(model: PreTrainedModel, context: torch.Tensor) -> DynamicCache:
    """The context's KV, computed without the store. Generate from copies of it: a cache grows in use."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    model(input_ids=context, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


def reference_answer(model: PreTrainedModel, cache: DynamicCache, prompt: torch.Tensor, num_tokens: int) -> list[int]:
    """The answer with the context's KV kept in this process: what an exact store must reproduce."""
    return answer(model, prompt, num_tokens, past_key_values=copy.deepcopy(cache))


def last_token_s(model: PreTrainedModel, cache: DynamicCache, prompt: torch.Tensor) -> float:
    """The floor: seconds to the first token when only the prompt's last token is left to compute."""
    held = copy.deepcopy(cache)
    known = held.get_seq_length()
    if known < prompt.shape[1] - 1:
        with torch.no_grad():
            model(input_ids=prompt[:, known:-1], past_key_values=held, use_cache=True, logits_to_keep=1)
    return first_token_s(model, prompt, past_key_values=held)


def save_context(model: PreTrainedModel, store: KVStore, context: torch.Tensor) -> None:
    """Computes the context once through the store and waits until it is saved."""
    with CachedModel(model, store) as cached:
        first_token_s(cached, context)
        cached.flush()


def in_new_process(
    model_dir: str | Path, dtype: torch.dtype, cases: Sequence[NewProcessCase]
) -> list[NewProcessResult]:
    """Runs the cases in a fresh Python process, after dropping the stores' files from the page cache.

    The stores must be closed here: pages that a process has mapped cannot be dropped.
    """
    for case in cases:
        drop_from_page_cache(Path(case.store))
    task = {
        "model": str(model_dir),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "cases": [asdict(case) for case in cases],
    }
    child = subprocess.run(
        [sys.executable, "-m", "connectors.hf.ttft"],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode:
        raise RuntimeError(f"the new process failed:\n{child.stderr}")
    return [NewProcessResult(**result) for result in json.loads(child.stdout.splitlines()[-1])]


def _run_case(model: PreTrainedModel, case: NewProcessCase) -> NewProcessResult:
    input_ids = torch.tensor([case.input_ids])
    started = time.perf_counter()
    reader = DiskReader(case.store)
    store = KVStore([reader], codec_in(reader, case.codec, case.codec_params))
    open_s = time.perf_counter() - started
    with CachedModel(model, store) as cached:  # identifies the weights: part of loading the model
        first_s = first_token_s(cached, input_ids)
        loaded = store.metrics.snapshot()["tokens_loaded"]
        token_ids = answer(cached, input_ids, case.max_new_tokens) if case.max_new_tokens else []
    store.close()
    return NewProcessResult(open_s, first_s, loaded, token_ids)


def _main() -> None:
    task = json.load(sys.stdin)
    torch.set_num_threads(task["threads"])
    model, _ = load_model(task["model"], getattr(torch, task["dtype"]))
    first_token_s(model, torch.arange(1, 65)[None])  # the first forward pass sets up the arithmetic libraries
    results = [_run_case(model, NewProcessCase(**case)) for case in task["cases"]]
    print(json.dumps([asdict(result) for result in results]))


if __name__ == "__main__":
    _main()
