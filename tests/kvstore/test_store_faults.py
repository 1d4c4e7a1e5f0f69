"""What is damaged, misplaced, gone or out of reach is a miss: fewer tokens, never others, and never an error."""

import logging

import pytest

from codec import Lossless
from kvstore import KVStore, MemoryTier
from kvstore.testing import frame as noise
from tests.kv import SPEC, bits, kv_of_any_bits
from tests.kvstore.faulty import EVERYTHING, FaultyTier

TOKENS = list(range(20))
KV = kv_of_any_bits(SPEC, 20, seed=1)


@pytest.fixture
def tier():
    return MemoryTier(1 << 20)


@pytest.fixture
def store(tier):
    store = KVStore([tier], Lossless(), chunk_tokens=4)
    store.save(store.identity(SPEC), TOKENS, KV)
    return store


@pytest.fixture
def match(store):
    return store.match(store.identity(SPEC), TOKENS)


def flipped(data, bit):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


DAMAGE = {
    "first bit": lambda data: flipped(data, 0),
    "header bit": lambda data: flipped(data, 8 * 200),
    "last bit": lambda data: flipped(data, 8 * len(data) - 1),
    "cut": lambda data: data[:-1],
    "empty": lambda data: b"",
    "longer": lambda data: bytes(data) + b"x",
    "noise": lambda data: b"noise" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_chunk_is_quarantined_and_the_chunks_before_it_are_right(store, tier, match, damage, caplog):
    tier.put([(match.keys[2], damage(tier.get(match.keys[2])))])
    with caplog.at_level(logging.WARNING):
        assert bits(store.load(match)) == bits(KV.tokens(0, 8))
    assert str(match.keys[2]) in caplog.text
    assert tier.get(match.keys[2]) is None
    assert store.metrics.snapshot()["chunks_corrupt"] == 1
    assert store.match(match.identity, TOKENS).num_tokens == 8


def test_a_quarantined_chunk_can_be_saved_again(store, tier, match):
    tier.put([(match.keys[0], b"noise")])
    assert store.load(match) is None
    assert store.save(match.identity, TOKENS, KV).saved == 5
    assert bits(store.load(match)) == bits(KV)


def test_a_frame_under_another_chunks_key_is_refused(store, tier, match):
    tier.put([(match.keys[1], tier.get(match.keys[3]))])
    assert bits(store.load(match)) == bits(KV.tokens(0, 4))
    assert store.metrics.snapshot()["chunks_corrupt"] == 1


def test_another_tenants_frame_under_this_key_is_refused(store, tier, match):
    stranger = store.identity(SPEC, tenant="stranger")
    store.save(stranger, TOKENS, kv_of_any_bits(SPEC, 20, seed=2))
    theirs = store.match(stranger, TOKENS).keys
    tier.put([(match.keys[0], tier.get(theirs[0]))])
    assert store.load(match) is None


def test_a_chunk_gone_between_match_and_load_shortens_the_load(store, tier, match):
    tier.delete(match.keys[3])
    assert bits(store.load(match)) == bits(KV.tokens(0, 12))
    assert store.metrics.snapshot()["chunks_vanished"] == 1


def test_everything_gone_between_match_and_load_is_no_kv(store, tier, match):
    for key in match.keys:
        tier.delete(key)
    assert store.load(match) is None


@pytest.mark.parametrize("refused", [(verb,) for verb in EVERYTHING] + [EVERYTHING])
def test_a_tier_out_of_service_is_a_miss_and_not_an_error(refused):
    faulty = FaultyTier(1 << 20)
    store = KVStore([faulty], Lossless(), chunk_tokens=4)
    identity = store.identity(SPEC)
    store.save(identity, TOKENS[:8], KV.tokens(0, 8))
    faulty.refused = set(refused)
    store.save(identity, TOKENS, KV)
    loaded = store.load(store.match(identity, TOKENS))
    if loaded is not None:
        assert bits(loaded) == bits(KV.tokens(0, loaded.num_tokens))
    assert (loaded is None) == bool({"match", "get"} & set(refused))


def test_a_tier_that_fails_after_the_match_is_a_miss():
    faulty = FaultyTier(1 << 20)
    store = KVStore([faulty], Lossless(), chunk_tokens=4)
    store.save(store.identity(SPEC), TOKENS, KV)
    match = store.match(store.identity(SPEC), TOKENS)
    faulty.refused = {"get"}
    assert store.load(match) is None
    assert store.metrics.snapshot()["tier_unavailable"] >= 1


def test_a_healthy_tier_beneath_serves_for_one_out_of_service():
    store = KVStore([FaultyTier(1 << 20, *EVERYTHING), MemoryTier(1 << 20)], Lossless(), chunk_tokens=4)
    identity = store.identity(SPEC)
    assert store.save(identity, TOKENS, KV).saved == 5
    assert bits(store.load(store.match(identity, TOKENS))) == bits(KV)


def test_chunks_that_no_tier_takes_are_counted_as_declined():
    store = KVStore([FaultyTier(1 << 20, "put")], Lossless(), chunk_tokens=4)
    saved = store.save(store.identity(SPEC), TOKENS, KV)
    assert (saved.saved, saved.declined) == (0, 5)
    assert store.metrics.snapshot()["chunks_declined"] == 5


def test_check_finds_nothing_wrong_with_whole_frames(store):
    verdicts = list(store.check())
    assert len(verdicts) == 5
    assert all(verdict.problem is None for verdict in verdicts)


def test_check_names_what_is_wrong_and_leaves_it(store, tier, match):
    tier.put([(match.keys[1], flipped(tier.get(match.keys[1]), 8 * 1500))])
    tier.put([(match.keys[2], tier.get(match.keys[3]))])
    problems = {verdict.key for verdict in store.check() if verdict.problem}
    assert problems == {match.keys[1], match.keys[2]}
    assert tier.match(match.keys) == 5


def test_check_repairs_when_asked(store, tier, match):
    tier.put([(match.keys[1], noise(match.keys[1]))])
    assert [verdict.key for verdict in store.check(repair=True) if verdict.problem] == [match.keys[1]]
    assert tier.get(match.keys[1]) is None
    assert all(verdict.problem is None for verdict in store.check())


def test_check_looks_at_every_copy():
    fast, slow = MemoryTier(1 << 20), MemoryTier(1 << 20)
    store = KVStore([fast, slow], Lossless(), chunk_tokens=4)
    store.save(store.identity(SPEC), TOKENS, KV)
    match = store.match(store.identity(SPEC), TOKENS)
    slow.put([(match.keys[1], noise(match.keys[1]))])
    assert len(list(store.check())) == 10
    assert [verdict.key for verdict in store.check() if verdict.problem] == [match.keys[1]]
