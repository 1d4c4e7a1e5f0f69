"""A chunk loaded layer by layer: the same KV, checked before its first layer, and a miss when it is not whole."""

import pytest
import torch

from codec import CorruptFrame, Int8, KVArray, Lossless
from kvstore import InvalidRequest, KVStore, MemoryTier
from kvstore import chunk_reader as chunk_reader_module
from tests.codec.calibrated import movable
from tests.kv import SPEC, bits, kv_of_numbers

KV_SPEC = movable(SPEC)
TOKENS = list(range(100, 108))
KV = kv_of_numbers(KV_SPEC, len(TOKENS))


@pytest.fixture
def tier():
    return MemoryTier(1 << 20)


@pytest.fixture(params=[Lossless, Int8], ids=lambda codec: codec.id)
def store(request, tier):
    with KVStore([tier], request.param(), chunk_tokens=len(TOKENS)) as store:
        store.save(store.identity(KV_SPEC), TOKENS, KV)
        yield store


@pytest.fixture
def match(store):
    return store.match(store.identity(KV_SPEC), TOKENS)


def room():
    return KVArray.empty(KV_SPEC, len(TOKENS))


@pytest.mark.parametrize("to", [0, 50])
def test_layers_come_as_the_whole_chunk_does(store, match, to):
    whole, out, there = room(), room(), 0
    assert store.load_chunks(match, [whole], to=to) == 1
    for num_layers in store.load_layers(match, out, to):
        for layer in range(there, num_layers):
            assert torch.equal(out.keys[layer], whole.keys[layer])
        there = num_layers
    assert there == KV_SPEC.num_layers
    assert bits(out) == bits(whole)
    assert store.metrics.snapshot()["tokens_loaded"] == 2 * len(TOKENS)


def test_a_damaged_last_layer_is_found_before_the_first(store, match, tier):
    frame = bytearray(tier.get(match.keys[0]))
    frame[-3] ^= 1
    tier.delete(match.keys[0])
    tier.put([(match.keys[0], frame)])
    assert store.load_layers(match, room(), 0) is None
    assert store.metrics.snapshot()["chunks_corrupt"] == 1
    assert not store.match(match.identity, TOKENS).keys


def test_a_chunk_that_vanished_is_a_miss(store, match, tier):
    tier.delete(match.keys[0])
    assert store.load_layers(match, room(), 0) is None
    assert store.metrics.snapshot()["chunks_vanished"] == 1


def test_what_only_the_decoder_finds_wrong_is_raised_and_taken_out_of_service(store, match, monkeypatch):
    def failing(frame, out, to):
        yield 1
        raise CorruptFrame("a code that no encoder writes")

    monkeypatch.setattr(chunk_reader_module, "decode_layers", failing)
    layers = store.load_layers(match, room(), 0)
    assert next(layers) == 1
    with pytest.raises(CorruptFrame):
        next(layers)
    assert store.metrics.snapshot()["chunks_corrupt"] == 1
    assert not store.match(match.identity, TOKENS).keys


def test_a_room_of_another_length_is_told(store, match):
    with pytest.raises(InvalidRequest):
        store.load_layers(match, KVArray.empty(KV_SPEC, 3), 0)
