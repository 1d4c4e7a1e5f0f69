"""What is sooner computed than loaded is computed, with the same answer, and every prefill is measured."""

import time

import pytest
import torch

from codec import Lossless
from connectors.hf import CachedModel
from kvstore import CostModel, KVStore, MemoryTier
from tests.connectors.hf.tiny import prompt, tiny_model

GREEDY = {"max_new_tokens": 4, "do_sample": False}


class SlowTier(MemoryTier):
    name = "slow"

    def get(self, key):
        time.sleep(0.3)
        return super().get(key)


@pytest.fixture
def slow_store():
    with KVStore([SlowTier(1 << 26)], Lossless(), chunk_tokens=8, cost=CostModel()) as store:
        yield store


def test_a_slow_tier_is_left_alone_once_both_ways_are_known(slow_store):
    model, ids = tiny_model("llama"), prompt(40)
    with CachedModel(model, slow_store) as cached:
        for seed in range(4, 8):
            cached.generate(prompt(40, seed), **GREEDY)  # not held: computed
        cached.generate(ids, **GREEDY)
        cached.flush()
        cached.generate(ids, **GREEDY)  # held, its tier not measured: loaded
        assert slow_store.metrics.snapshot()["tokens_loaded"] == 40
        answer = cached.generate(ids, **GREEDY)
        assert slow_store.metrics.snapshot()["tokens_loaded"] == 40
        assert slow_store.metrics.snapshot()["tokens_not_loaded"] == 40
        assert torch.equal(answer, model.generate(ids, **GREEDY))


def test_prefills_are_reported_with_their_context(store, wrap):
    reported, ids = [], prompt(40)
    store.cost.computed = lambda model, num_tokens, context, seconds: reported.append((num_tokens, context))
    cached = wrap(tiny_model("llama"))
    cached.generate(ids, **GREEDY)
    cached.flush()
    cached.generate(torch.cat([ids, prompt(5, seed=2)], dim=1), **GREEDY)
    cached.generate(torch.cat([ids, ids]), **GREEDY)  # a batch says nothing about a single prompt
    assert reported == [(40, 0), (5, 40)]
