"""Whatever happens to the store, the engine goes on and its answers are right."""

import threading
import time

import pytest
import torch

from codec import Lossless
from connectors.hf import CachedModel
from connectors.save_queue import SaveQueue
from kvstore import KVStore, MemoryTier, TierUnavailable
from tests.connectors.hf.steps import GREEDY, two_steps
from tests.connectors.hf.tiny import prompt, tiny_model
from tests.kv import SPEC, kv_of_numbers


class BlockedTier(MemoryTier):
    """Puts wait until the test lets them."""

    def __init__(self):
        super().__init__(1 << 26)
        self.let_go = threading.Event()

    def put(self, *arguments, **options):
        self.let_go.wait(30)
        return super().put(*arguments, **options)


class DeadTier(MemoryTier):
    """Unavailable, or broken in a way nobody foresaw."""

    def __init__(self, error):
        super().__init__(1 << 26)
        self.error = error

    def put(self, *arguments, **options):
        raise self.error


def test_generation_does_not_wait_for_a_tier_that_hangs():
    tier = BlockedTier()
    model, ids = tiny_model("llama"), prompt(40)
    store = KVStore([tier], Lossless(), chunk_tokens=8)
    with CachedModel(model, store) as cached:
        started = time.monotonic()
        output = cached.generate(ids, **GREEDY)
        assert time.monotonic() - started < 10
        assert torch.equal(output, model.generate(ids, **GREEDY))
        tier.let_go.set()
        assert cached.flush(30)


def test_a_full_queue_drops_and_counts():
    tier = BlockedTier()
    model = tiny_model("llama")
    store = KVStore([tier], Lossless(), chunk_tokens=8)
    one_prompt = 40 * 3 * 2 * (8 + 8) * 4
    with CachedModel(model, store, save_queue_bytes=2 * one_prompt) as cached:
        for seed in range(4):
            cached.generate(prompt(40, seed=seed), max_new_tokens=1)
        assert store.metrics.snapshot()["saves_dropped"] == 2
        tier.let_go.set()
    assert store.metrics.snapshot()["chunks_saved"] == 10


@pytest.mark.parametrize(
    ("error", "counter"), [(TierUnavailable("disk full"), "tier_unavailable"), (RuntimeError("a bug"), "saves_failed")]
)
def test_a_tier_that_fails_costs_nothing_but_the_save(error, counter):
    model, ids = tiny_model("llama"), prompt(40)
    store = KVStore([DeadTier(error)], Lossless(), chunk_tokens=8)
    with CachedModel(model, store) as cached:
        for _ in range(2):
            assert torch.equal(cached.generate(ids, **GREEDY), model.generate(ids, **GREEDY))
        cached.flush()
        assert store.metrics.snapshot()[counter] >= 2


@pytest.mark.parametrize("broken", ["runs", "get"])
def test_a_tier_that_breaks_while_loading_costs_nothing_but_the_load(broken, wrap, store, monkeypatch):
    model, ids = tiny_model("llama"), prompt(40)
    cached = wrap(model)
    cached.generate(ids, max_new_tokens=1)
    cached.flush()

    def broken_verb(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(store.tier, broken, broken_verb)
    assert torch.equal(cached.generate(ids, **GREEDY), model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["loads_failed"] == 1


@pytest.mark.parametrize("damaged", [0, 2, 4])
def test_a_damaged_chunk_is_computed_again(damaged, wrap, store):
    model, context = tiny_model("llama"), prompt(40)
    whole = torch.cat([context, prompt(9, seed=2)], dim=1)
    cached = wrap(model)
    cached.generate(context, max_new_tokens=1)
    cached.flush()
    match = store.match(store.identity(cached.spec), whole[0].tolist())
    frame = bytearray(store.tier.get(match.keys[damaged]))
    frame[len(frame) // 2] ^= 1
    store.tier.put([(match.keys[damaged], frame)])
    prefix = context[:, : 8 * damaged]
    expected = two_steps(model, prefix, whole) if damaged else model.generate(whole, **GREEDY)
    assert torch.equal(cached.generate(whole, **GREEDY), expected)
    assert store.metrics.snapshot()["chunks_corrupt"] == 1
    cached.flush()
    assert store.match(store.identity(cached.spec), whole[0].tolist()).num_tokens >= 48


def test_a_model_changed_behind_our_back_is_not_saved_under_its_old_name(wrap, store):
    model, ids = tiny_model("llama"), prompt(40)
    cached = wrap(model)
    model.to(torch.bfloat16)
    assert torch.equal(cached.generate(ids, **GREEDY), model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["saves_failed"] >= 1
    assert store.tier.size_bytes == 0


def test_closing_saves_what_is_waiting_and_later_saves_are_dropped(store):
    model = tiny_model("llama")
    cached = CachedModel(model, store)
    cached.generate(prompt(40), max_new_tokens=1)
    cached.close()
    assert store.metrics.snapshot()["chunks_saved"] == 5
    cached.generate(prompt(40, seed=9), max_new_tokens=1)
    assert store.metrics.snapshot()["saves_dropped"] == 1
    cached.close()


def test_an_empty_queue_flushes_at_once(store):
    queue = SaveQueue(store, 1)
    assert queue.flush(0)
    queue.close()


def saved_within(store, seconds):
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s and not store.metrics.snapshot()["chunks_saved"]:
        time.sleep(0.005)
    return store.metrics.snapshot()["chunks_saved"]


@pytest.mark.parametrize("end", ["rests", "fills", "closes"])
def test_saving_rests_while_the_engine_is_busy(store, end):
    kv = kv_of_numbers(SPEC, 8)
    capacity = 100 * kv.num_bytes if end != "fills" else 3 * kv.num_bytes
    queue, identity = SaveQueue(store, capacity), store.identity(SPEC)
    queue.busy(1)
    queue.submit(identity, list(range(8)), kv, 0)
    assert saved_within(store, 0.3) == 0
    if end == "rests":
        queue.busy(-1)
    elif end == "fills":
        queue.submit(identity, list(range(100, 108)), kv, 0)
    else:
        queue.close()
    assert saved_within(store, 10) >= 1
    queue.close()


@pytest.mark.parametrize("fails", [True, False])
def test_the_engine_is_not_busy_when_generate_has_ended(wrap, fails):
    cached = wrap(tiny_model("llama"))
    if fails:
        with pytest.raises(TypeError):
            cached.generate(prompt(40), max_new_tokens="many")
    else:
        cached.generate(prompt(40), max_new_tokens=2)
    assert cached._queue._busy == 0
