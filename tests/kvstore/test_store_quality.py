"""Progressive frames are read at the finest quality that is in time, chunk by chunk, and never wrong."""

import math
import time

import pytest

from codec import Frame, KVArray, Lossless, Transform, decode_chunk
from kvstore import CostModel, KVStore, MemoryTier
from tests.codec.calibrated import movable, profile_for
from tests.kv import SPEC, bits, kv_of_numbers

KV_SPEC = movable(SPEC)
TOKENS = list(range(100, 164))
KV = kv_of_numbers(KV_SPEC, len(TOKENS), seed=4)
CODEC = Transform(profile_for(KV_SPEC), "progressive")
CHUNK = 16


class Link(MemoryTier):
    """Frames behind a link of so many seconds per byte, which reads as much of one as is asked for."""

    name = "link"

    def __init__(self, seconds_per_byte):
        super().__init__(1 << 24)
        self.seconds_per_byte, self.read_bytes = seconds_per_byte, []

    def get(self, key):
        return self._sent(super().get(key))

    def peek(self, key, num_bytes):
        return self._sent(super().get(key)[:num_bytes])

    def _sent(self, data):
        self.read_bytes.append(len(data))
        time.sleep(len(data) * self.seconds_per_byte)
        return data


@pytest.fixture
def opened():
    """`opened(tier, target_s)` gives a store that holds the prompt and has measured, and a match."""

    def open_store(tier, target_s, codec=CODEC):
        cost = CostModel()
        store = KVStore([tier], codec, CHUNK, cost=cost, target_s=target_s)
        store.save(store.identity(KV_SPEC), TOKENS, KV)
        match = store.match(store.identity(KV_SPEC), TOKENS)
        for _ in range(2):  # learns what a quality takes, and how fast the link is
            store.load(match)
        for _ in range(60):
            cost.computed(KV_SPEC.fingerprint(), len(TOKENS), 0, 6.4)
            cost.computed(KV_SPEC.fingerprint(), 1, len(TOKENS), 0.1)
        tier.read_bytes.clear()
        return store, match

    return open_store


def decoded_at(store, match, quality):
    out = KVArray.empty(KV_SPEC, match.num_tokens)
    for index, key in enumerate(match.keys):
        frame = Frame(MemoryTier.get(store.tier.tiers[0], key))
        decode_chunk(frame, out.tokens(index * CHUNK, (index + 1) * CHUNK), quality=quality)
    return out


def frame_bytes(store, match):
    return [store.tier.entry(key).size_bytes for key in match.keys]


def test_without_a_target_frames_are_read_whole(opened):
    store, match = opened(Link(0), math.inf)
    planned = store.plan(match, len(TOKENS))
    assert planned.until_s == math.inf
    assert bits(store.load(planned)) == bits(decoded_at(store, match, "high"))
    assert store.tier.tiers[0].read_bytes == frame_bytes(store, match)


def test_a_generous_target_reads_the_full_quality(opened):
    store, match = opened(Link(1e-7), 1000.0)
    assert bits(store.load(store.plan(match, len(TOKENS)))) == bits(decoded_at(store, match, "high"))


def test_a_target_that_cannot_be_met_reads_the_least(opened):
    store, match = opened(Link(1e-5), 0.01)
    planned = store.plan(match, len(TOKENS))
    assert planned.num_tokens == match.num_tokens
    assert bits(store.load(planned)) == bits(decoded_at(store, match, "small"))
    read = store.tier.tiers[0].read_bytes
    assert all(part < whole for part, whole in zip(read, frame_bytes(store, match), strict=False))


def test_a_link_that_slows_down_lowers_the_quality_of_what_is_left(opened):
    tier = Link(1e-7)
    store, match = opened(tier, 1.0)
    planned = store.plan(match, len(TOKENS))
    tier.seconds_per_byte = 0.7 / frame_bytes(store, match)[0]
    back = store.load(planned)
    assert bits(back.tokens(0, CHUNK)) == bits(decoded_at(store, match, "high").tokens(0, CHUNK))
    assert bits(back.tokens(3 * CHUNK, 4 * CHUNK)) == bits(decoded_at(store, match, "small").tokens(48, 64))


def test_a_chunk_damaged_in_what_is_read_is_a_miss(opened):
    store, match = opened(Link(1e-5), 0.01)
    tier = store.tier.tiers[0]
    frame = bytearray(MemoryTier.get(tier, match.keys[1]))
    frame[len(frame) // 3] ^= 1
    tier.put([(match.keys[1], bytes(frame))], match.keys[:1])
    assert store.load(store.plan(match, len(TOKENS))).num_tokens == CHUNK
    assert store.metrics.snapshot()["chunks_corrupt"] == 1


def test_a_chunk_that_is_gone_is_a_miss(opened):
    store, match = opened(Link(1e-5), 0.01)
    planned = store.plan(match, len(TOKENS))
    store.tier.delete(match.keys[2])
    assert store.load(planned).num_tokens == 2 * CHUNK


def test_a_codec_of_one_quality_has_no_target(opened):
    store, match = opened(Link(0), 0.0001, Lossless())
    assert store.plan(match, len(TOKENS)).until_s == math.inf
    assert bits(store.load(match)) == bits(KV)
