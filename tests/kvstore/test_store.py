"""KVStore gives back the KV that was saved for exactly these tokens, as much of it as there is."""

from dataclasses import replace

import pytest

from codec import Int8, KVArray, Lossless
from kvstore import InvalidRequest, KVStore, LoRA, MemoryTier, Multimodal, NoTier, Terms
from kvstore import store as store_module
from tests.kv import SPEC, bits, kv_of_any_bits, kv_of_numbers

TOKENS = list(range(100, 122))  # five chunks of four, and two tokens more
KV = kv_of_any_bits(SPEC, len(TOKENS), seed=1)


@pytest.fixture
def store():
    return KVStore([MemoryTier(1 << 20)], Lossless(), chunk_tokens=4)


@pytest.fixture
def identity(store):
    return store.identity(SPEC)


def test_the_full_chunks_come_back_bit_for_bit(store, identity):
    saved = store.save(identity, TOKENS, KV)
    assert (saved.saved, saved.held, saved.declined) == (5, 0, 0)
    match = store.match(identity, TOKENS)
    assert match.num_tokens == 20
    assert bits(store.load(match)) == bits(KV.tokens(0, 20))


def test_int8_comes_back_close():
    store = KVStore([MemoryTier(1 << 20)], Int8(), chunk_tokens=4)
    kv, identity = kv_of_numbers(SPEC, 8), store.identity(SPEC)
    store.save(identity, TOKENS[:8], kv)
    loaded = store.load(store.match(identity, TOKENS[:8]))
    assert all((one - other).abs().max() < 0.1 for one, other in zip(loaded.keys, kv.keys, strict=True))


def test_nothing_held_is_an_empty_match_and_no_kv(store, identity):
    match = store.match(identity, TOKENS)
    assert match.num_tokens == 0
    assert store.load(match) is None


def test_a_shared_prefix_is_found_under_another_prompt(store, identity):
    store.save(identity, TOKENS, KV)
    match = store.match(identity, [*TOKENS[:10], 7, 7, 7, 7])
    assert match.num_tokens == 8
    assert bits(store.load(match)) == bits(KV.tokens(0, 8))


def test_the_same_tokens_later_in_a_prompt_are_not_found(store, identity):
    store.save(identity, TOKENS, KV)
    assert store.match(identity, TOKENS[4:]).num_tokens == 0


def test_another_turn_saves_only_what_is_new(store, identity):
    store.save(identity, TOKENS[:12], KV.tokens(0, 12))
    saved = store.save(identity, TOKENS, KV.tokens(8, 22), start=8)
    assert (saved.saved, saved.held, saved.declined) == (2, 3, 0)
    assert bits(store.load(store.match(identity, TOKENS))) == bits(KV.tokens(0, 20))


def test_saving_again_saves_nothing(store, identity):
    store.save(identity, TOKENS, KV)
    assert store.save(identity, TOKENS, KV).saved == 0


def test_what_could_not_be_reached_is_not_saved(store, identity):
    saved = store.save(identity, TOKENS, KV.tokens(8, 22), start=8)
    assert (saved.saved, saved.held, saved.declined) == (0, 0, 5)
    assert list(store.tier.entries()) == []


def test_a_prompt_larger_than_the_tier_keeps_its_beginning(monkeypatch):
    monkeypatch.setattr(store_module, "_SAVE_GROUP_BYTES", 1)
    store = KVStore([MemoryTier(10_000)], Lossless(), chunk_tokens=4)
    identity, kv = store.identity(SPEC), kv_of_any_bits(SPEC, 80)
    saved = store.save(identity, range(80), kv)
    assert 0 < saved.saved < 20
    assert saved.saved + saved.declined == 20
    match = store.match(identity, range(80))
    assert match.num_tokens == 4 * saved.saved
    assert bits(store.load(match)) == bits(kv.tokens(0, match.num_tokens))


def test_a_turn_larger_than_the_tier_keeps_the_turns_before():
    store = KVStore([MemoryTier(10_000)], Lossless(), chunk_tokens=4)
    identity, kv = store.identity(SPEC), kv_of_any_bits(SPEC, 80)
    store.save(identity, range(8), kv.tokens(0, 8))
    store.save(identity, [9] * 8, kv.tokens(8, 16))
    saved = store.save(identity, range(80), kv)
    assert saved.held == 2
    assert store.match(identity, range(80)).num_tokens == 4 * (saved.held + saved.saved)


OTHERS = {
    "tenant": lambda store: store.identity(SPEC, tenant="bob"),
    "LoRA": lambda store: store.identity(SPEC, tenant="alice", lora=LoRA("chat", "/chat")),
    "spec": lambda store: store.identity(replace(SPEC, revision="1" * 40), tenant="alice"),
    "dtype": lambda store: store.identity(replace(SPEC, dtype="float16"), tenant="alice"),
    "shard": lambda store: store.identity(replace(SPEC, tp_size=2), tenant="alice"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_nothing_is_found_across_identities(store, other):
    store.save(store.identity(SPEC, tenant="alice"), TOKENS, KV)
    assert store.match(other(store), TOKENS).num_tokens == 0


def test_another_image_is_not_found(store, identity):
    store.save(identity, TOKENS, KV, multimodal=[Multimodal("cat", 5, 7)])
    assert store.match(identity, TOKENS, [Multimodal("dog", 5, 7)]).num_tokens == 4
    assert store.match(identity, TOKENS, [Multimodal("cat", 5, 7)]).num_tokens == 20


@pytest.mark.parametrize("codec", [Lossless(), Int8()], ids=lambda codec: codec.id)
def test_another_stores_identity_is_refused(store, codec):
    stranger = KVStore([NoTier()], codec, chunk_tokens=8 if codec.lossless else 4).identity(SPEC)
    with pytest.raises(InvalidRequest):
        store.save(stranger, TOKENS, KV)
    match = replace(store.match(store.identity(SPEC), TOKENS), identity=stranger)
    with pytest.raises(InvalidRequest):
        store.load_into(match, KVArray.empty(SPEC, 20))


@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_misaligned_start_is_an_invalid_request(store, identity, start):
    with pytest.raises(InvalidRequest):
        store.save(identity, TOKENS, KV.tokens(start, 22), start=start)


def test_kv_of_another_spec_is_an_invalid_request(store, identity):
    other = replace(SPEC, revision="other")
    with pytest.raises(InvalidRequest):
        store.save(identity, TOKENS, kv_of_any_bits(other, 22))
    store.save(identity, TOKENS, KV)
    match = store.match(identity, TOKENS)
    for out in (KVArray.empty(other, 20), KVArray.empty(SPEC, 19)):
        with pytest.raises(InvalidRequest):
            store.load_into(match, out)


@pytest.mark.parametrize("chunk_tokens", [0, -4])
def test_a_chunk_needs_at_least_one_token(chunk_tokens):
    with pytest.raises(InvalidRequest):
        KVStore([], Lossless(), chunk_tokens)


def test_loading_into_a_larger_array_fills_its_beginning(store, identity):
    store.save(identity, TOKENS, KV)
    out = kv_of_numbers(SPEC, 30)
    tail = bits(out.tokens(20, 30))
    assert store.load_into(store.match(identity, TOKENS), out) == 20
    assert bits(out.tokens(0, 20)) == bits(KV.tokens(0, 20))
    assert bits(out.tokens(20, 30)) == tail


def test_the_first_chunks_of_a_match_can_be_loaded_alone(store, identity):
    store.save(identity, TOKENS, KV)
    assert bits(store.load(store.match(identity, TOKENS).first(2))) == bits(KV.tokens(0, 8))


@pytest.mark.parametrize(("had", "start"), [(0, 0), (3, 0), (4, 4), (11, 8), (100, None)])
def test_who_has_the_first_tokens_loads_what_lies_behind_them(store, identity, had, start):
    store.save(identity, TOKENS, KV)
    whole = store.match(identity, TOKENS)
    behind = whole.behind(had)
    if start is None:
        assert behind.num_tokens == 0
        assert store.load(behind) is None
        return
    assert behind.start == start
    assert bits(store.load(behind)) == bits(KV.tokens(start, whole.num_tokens))
    assert bits(store.load(behind.first(1))) == bits(KV.tokens(start, start + store.chunk_tokens))
    assert behind.behind(8) == whole.behind(8)


def test_what_happened_is_counted(store, identity):
    store.save(identity, TOKENS, KV)
    store.save(identity, TOKENS, KV)
    store.load(store.match(identity, TOKENS))
    counts = {name: count for name, count in store.metrics.snapshot().items() if count}
    assert counts == {"chunks_saved": 5, "chunks_held": 5, "chunks_loaded": 5, "tokens_loaded": 20}


def test_what_is_saved_is_its_tenants_and_goes_when_its_time_is_up():
    now_s = [1_795_000_000.0]
    tier = MemoryTier(1 << 20, clock=lambda: now_s[0])
    store = KVStore([tier], Lossless(), chunk_tokens=4, ttl_s=60, clock=lambda: now_s[0])
    identity = store.identity(SPEC, "alice")
    store.save(identity, TOKENS, KV)
    assert {entry.terms for entry in tier.entries()} == {Terms("alice", now_s[0] + 60)}
    assert sum(entry.parent is None for entry in tier.entries()) == 1
    match = store.match(identity, TOKENS)
    now_s[0] += 60
    assert store.match(identity, TOKENS).num_tokens == 0
    assert store.load(match) is None


def test_chunks_are_saved_and_loaded_one_by_one(store, identity):
    chunks = [KV.tokens(start, start + 4) for start in range(0, 20, 4)]
    assert store.save_chunks(identity, TOKENS, chunks[:2]).saved == 2
    assert store.save_chunks(identity, TOKENS, chunks[1:], start=4).saved == 3
    match = store.match(identity, TOKENS)
    rooms = [KVArray.empty(SPEC, 4) for _ in chunks]
    assert store.load_chunks(match, rooms) == 5
    assert [bits(room) for room in rooms] == [bits(chunk) for chunk in chunks]


def test_a_load_ends_when_it_is_stopped(store, identity):
    store.save(identity, TOKENS, KV)
    asked = iter([False, False, True])
    rooms = [KVArray.empty(SPEC, 4) for _ in range(5)]
    assert store.load_chunks(store.match(identity, TOKENS), rooms, lambda: next(asked)) == 2


@pytest.mark.parametrize("num_tokens", [3, 5])
def test_a_chunk_of_another_length_is_an_invalid_request(store, identity, num_tokens):
    room = KVArray.empty(SPEC, num_tokens)
    with pytest.raises(InvalidRequest):
        store.save_chunks(identity, TOKENS, [room])
    store.save(identity, TOKENS, KV)
    with pytest.raises(InvalidRequest):
        store.load_chunks(store.match(identity, TOKENS).first(1), [room])
    with pytest.raises(InvalidRequest):
        store.load_chunks(store.match(identity, TOKENS), [KVArray.empty(SPEC, 4)])
