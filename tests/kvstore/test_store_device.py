"""KVStore decodes what a device tier holds where it lies, when the KV is wanted there; else as from any tier."""

from functools import partial

import pytest
import torch

from codec import Int4, Int8, KVArray, Lossless, Transform, encode_chunk
from kvstore import CostModel, DeviceTier, KVStore, MemoryTier, Terms
from kvstore.key import chunk_keys
from tests.codec.calibrated import profile_for
from tests.codec.forge import ForgedFrame
from tests.device import DEVICE, HAS_CUDA, copying_tier, to_cpu
from tests.kv import SPEC, bits, kv_of_numbers

pytest.importorskip("triton", reason="Triton is not installed")
TOKENS = list(range(100, 112))
KV = kv_of_numbers(SPEC, len(TOKENS), seed=1)


KVStore = partial(KVStore, decoders=1)  # Triton's interpreter serves one thread at a time


def nothing_comes_to_the_host(key):
    raise AssertionError(f"{key} came to the host")


def saved(codec, *behind):
    tier = copying_tier(1 << 20)
    store = KVStore([tier, *behind], codec, chunk_tokens=4)
    identity = store.identity(SPEC)
    store.save(identity, TOKENS, KV)
    return store, tier, store.match(identity, TOKENS)


def loaded(store, match):
    """What comes into room on the device, on the CPU."""
    out = KVArray.empty(SPEC, match.num_tokens, DEVICE)
    num_tokens = store.load_into(match, out)
    return to_cpu(out.tokens(0, num_tokens))


@pytest.mark.parametrize("codec", [Lossless(), Int8(), Transform(profile_for(SPEC))], ids=lambda codec: codec.id)
def test_kv_wanted_on_the_device_is_decoded_there(codec, monkeypatch):
    store, _, match = saved(codec, MemoryTier(1 << 20))
    assert match.tiers == ("device",) * 3
    for tier in store.tier.tiers:
        monkeypatch.setattr(tier, "get", nothing_comes_to_the_host)
    there = loaded(store, match)
    plain = KVStore([MemoryTier(1 << 20)], codec, chunk_tokens=4)
    plain.save(match.identity, TOKENS, KV)
    for one, other in zip(plain.load(match).keys, there.keys, strict=True):
        torch.testing.assert_close(other, one, rtol=0 if codec.lossless else 0.02, atol=2e-3)
    assert store.metrics.snapshot()["chunks_loaded"] == 3


def test_what_cannot_be_decoded_on_the_device_comes_to_the_host():
    store, _, match = saved(Int4())
    plain = KVStore([MemoryTier(1 << 20)], Int4(), chunk_tokens=4)
    plain.save(match.identity, TOKENS, KV)
    assert bits(loaded(store, match)) == bits(plain.load(match))


def test_what_the_device_no_longer_holds_comes_from_the_tier_below():
    store, tier, match = saved(Lossless(), MemoryTier(1 << 20))
    tier.delete(match.keys[1])
    assert bits(loaded(store, match)) == bits(KV.tokens(0, 12))
    assert tier.match(match.keys) == 3


@pytest.mark.parametrize("codec", [Lossless(), Int8(), Transform(profile_for(SPEC))], ids=lambda codec: codec.id)
def test_a_frame_that_was_forged_is_quarantined(codec):
    store, tier, match = saved(codec)
    key = match.keys[1]
    forged = ForgedFrame.opened(bytes(encode_chunk(codec, KV.tokens(4, 8), str(key), 4)))
    for section in forged.sections:
        section.content = b"\xff" * len(section.content)
    tier.put([(key, forged.sealed())], match.keys[:1])
    assert tier.get_on_device(key, DEVICE) is not None
    assert loaded(store, match).num_tokens == 4
    assert store.metrics.snapshot()["chunks_corrupt"] == 1
    assert store.match(match.identity, TOKENS).num_tokens == 4


def test_a_frame_under_another_key_is_quarantined():
    store, tier, match = saved(Int8())
    tier.put([(match.keys[1], bytes(tier.get(match.keys[0])))], match.keys[:1], Terms())
    assert loaded(store, match).num_tokens == 4
    assert store.metrics.snapshot()["chunks_corrupt"] == 1


def test_reading_on_the_device_is_measured():
    cost, measured = CostModel(), []
    cost.got = lambda *arguments: measured.append(arguments[:2])
    tier = copying_tier(1 << 20)
    store = KVStore([tier], Int8(), chunk_tokens=4, cost=cost)
    store.save(store.identity(SPEC), TOKENS[:4], KV.tokens(0, 4))
    (key,) = chunk_keys(store.identity(SPEC), TOKENS[:4])
    store.tier.get_on_device(key, DEVICE)
    assert measured == [("device", tier.size_bytes)]


def test_kv_wanted_on_the_cpu_is_decoded_over_a_cpu_tiers_own_memory():
    store = KVStore([DeviceTier(1 << 20, "cpu")], Lossless(), chunk_tokens=4)
    store.save(store.identity(SPEC), TOKENS, KV)
    assert bits(store.load(store.match(store.identity(SPEC), TOKENS))) == bits(KV)


@pytest.mark.gpu
def test_kv_wanted_on_the_cpu_comes_from_cuda():
    if not HAS_CUDA:
        pytest.skip("there is no CUDA device")
    store, _, match = saved(Lossless())
    assert bits(store.load(match)) == bits(KV)
