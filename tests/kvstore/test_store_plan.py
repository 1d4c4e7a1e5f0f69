"""The store loads what was measured to be sooner, has the rest computed, and lets somebody try again beside it."""

import threading
import time

import pytest

from codec import Lossless
from kvstore import AlwaysLoad, CostModel, KVStore, MemoryTier
from tests.kv import SPEC, bits, kv_of_any_bits

TOKENS = list(range(100, 140))
KV = kv_of_any_bits(SPEC, len(TOKENS), seed=1)


class SlowTier(MemoryTier):
    name = "slow"

    def __init__(self, seconds):
        super().__init__(1 << 20)
        self.seconds, self.threads = seconds, []

    def get(self, key):
        self.threads.append(threading.current_thread().name)
        time.sleep(self.seconds)
        return super().get(key)


def saved(tiers, cost):
    store = KVStore(tiers, Lossless(), chunk_tokens=4, cost=cost)
    store.save(store.identity(SPEC), TOKENS, KV)
    return store, store.match(store.identity(SPEC), TOKENS)


def computes_in(cost, seconds):
    for num_tokens in (40, 20, 40):
        cost.computed(SPEC.fingerprint(), num_tokens, 0, seconds * num_tokens / 40)


@pytest.fixture
def cost():
    return CostModel()


def test_a_match_says_where_its_chunks_are(cost):
    _, match = saved([MemoryTier(1 << 20), SlowTier(0)], cost)
    assert match.tiers == ("memory",) * 10
    assert match.first(3).tiers == ("memory",) * 3


def test_what_was_not_measured_is_loaded(cost):
    store, match = saved([SlowTier(0)], cost)
    assert store.plan(match, len(TOKENS)) == match


def test_a_slow_tier_is_left_alone_where_computing_is_sooner(cost):
    store, match = saved([SlowTier(0.02)], cost)
    with store:
        store.load(match)
        computes_in(cost, 0.05)
        assert store.plan(match, len(TOKENS)).num_tokens == 0
        assert store.metrics.snapshot()["tokens_not_loaded"] == 40
        computes_in(cost, 5.0)
        computes_in(cost, 5.0)
        planned = store.plan(match, len(TOKENS))
        assert planned == match
        assert bits(store.load(planned)) == bits(KV)


def test_tokens_that_are_there_count_as_context(cost):
    asked = []
    cost.plan = lambda *given, context=0: asked.append(context) or AlwaysLoad().plan(*given)
    store, match = saved([MemoryTier(1 << 20)], cost)
    assert store.plan(match.behind(9), len(TOKENS)) == match.behind(8)
    assert asked == [8]


def test_a_chunk_left_out_is_tried_again_in_the_background(cost):
    tier = SlowTier(0.05)
    store, match = saved([tier], cost)
    with store:
        store.load(match)
        computes_in(cost, 0.01)
        tier.threads.clear()
        started = time.perf_counter()
        assert store.plan(match, len(TOKENS)).num_tokens == 0
        assert time.perf_counter() - started < 0.05
        assert store.tier.background.flush(10)
        assert [name.startswith("kvstore-background") for name in tier.threads] == [True]


def test_a_damaged_chunk_tried_again_harms_nobody(cost):
    store, match = saved([SlowTier(0.02)], cost)
    with store:
        store.load(match)
        computes_in(cost, 0.01)
        store.tier.put([(match.keys[0], b"no frame")])
        assert store.plan(match, len(TOKENS)).num_tokens == 0
        assert store.tier.background.flush(10)
        assert store.load(match) is None  # a load is who takes it out of service
        assert store.metrics.snapshot()["chunks_corrupt"] == 1


def test_prefetch_brings_a_match_to_the_fastest_tier(cost):
    fast, slow = MemoryTier(1 << 20), SlowTier(0)
    store, match = saved([fast, slow], cost)
    with store:
        for key in match.keys:
            fast.delete(key)
        match = store.match(match.identity, TOKENS)
        assert match.tiers == ("slow",) * 10
        assert store.prefetch(match) == 10
        assert bits(store.load(match)) == bits(KV)  # meanwhile
        assert store.tier.background.flush(10)
        assert fast.match(match.keys) == 10


def test_an_eviction_between_match_and_load_is_a_shorter_load(cost):
    store, match = saved([MemoryTier(1 << 20)], cost)
    store.tier.delete(match.keys[6])
    assert store.load(store.plan(match, len(TOKENS))).num_tokens == 24
    assert store.metrics.snapshot()["chunks_vanished"] == 1


def test_what_loading_spared_is_counted_once_computing_was_measured(cost):
    store, match = saved([SlowTier(0.002)], cost)
    with store:
        store.load(match)
        counted = store.metrics.snapshot()
        assert counted["computing_spared_ms"] == counted["loading_ms"] == 0
        computes_in(cost, 5.0)
        store.load(match)
        counted = store.metrics.snapshot()
        assert counted["computing_spared_ms"] == round(1000 * cost.spared_s(SPEC.fingerprint(), 40, 0))
        assert 1000 < counted["computing_spared_ms"] <= 5500
        assert 20 <= counted["loading_ms"] < 1000


def test_what_ends_with_the_store_ends_before_its_tiers(cost):
    store, match = saved([MemoryTier(1 << 20)], cost)
    ended = []
    store.end_with(lambda: ended.append(store.tier.match(match.keys)))
    for _ in range(2):
        store.close()
    assert ended == [10]
