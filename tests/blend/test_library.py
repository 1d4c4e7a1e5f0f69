"""Segments in a real store: found by their tokens, put where the prompt has them, missing when damaged."""

import pytest
import torch

from blend import Layout
from blend.library import Library
from codec import Int8, KVArray, Lossless
from kvstore import KVStore, MemoryTier
from tests.codec.calibrated import movable
from tests.kv import SPEC, kv_of_numbers

KV_SPEC = movable(SPEC)
BEHIND = (1, 2, 3)
DOCUMENTS = [tuple(range(100, 140)), tuple(range(200, 217)), (300,)]
PROMPT = Layout((7, 8, *DOCUMENTS[1], 9, *DOCUMENTS[0], *DOCUMENTS[2], 10), ((2, 19), (20, 60), (60, 61)))


@pytest.fixture
def tier():
    return MemoryTier(1 << 24)


@pytest.fixture(params=[Lossless, Int8], ids=lambda codec: codec.id)
def library(request, tier):
    with KVStore([tier], request.param()) as store:
        yield Library(store, store.identity(KV_SPEC, "alice"), BEHIND)


def kv_of(number):
    return kv_of_numbers(KV_SPEC, len(DOCUMENTS[number]), seed=number)


def load(library, found, kv):
    arriving, into_segment = library.begin(found, kv)
    with arriving:
        arriving.wait(KV_SPEC.num_layers - 1)
    return into_segment


def test_segments_are_found_wherever_they_stand(library):
    for number, document in enumerate(DOCUMENTS[:2]):
        assert library.save(document, kv_of(number)).saved == 1
    assert [(found.start, found.end) for found in library.find(PROMPT)] == [(2, 19), (20, 60)]
    assert [(found.start, found.end) for found in library.find(PROMPT, start=19)] == [(20, 60)]
    assert library.missing(PROMPT) == [(60, 61)]


def test_they_are_loaded_with_keys_for_where_they_stand(library):
    library.save(DOCUMENTS[0], kv_of(0))
    out = KVArray.empty(KV_SPEC, len(PROMPT.token_ids))
    into = load(library, library.find(PROMPT), out)
    assert into.tolist() == [-1] * 20 + list(range(40)) + [-1] * 2
    given, got = kv_of(0), out.tokens(20, 60)
    close = {"atol": 0.05, "rtol": 0.02}
    for layer, rotary in enumerate(library_rotary()):
        expected = rotary.move(given.keys[layer], len(BEHIND), 20)
        torch.testing.assert_close(got.keys[layer].float(), expected, **close)
        torch.testing.assert_close(got.values[layer].float(), given.values[layer].float(), **close)


def library_rotary():
    from codec.rotary import rotary_of_layers

    return rotary_of_layers(KV_SPEC)


def test_the_same_segment_twice_is_loaded_twice(library):
    library.save(DOCUMENTS[1], kv_of(1))
    twice = Layout((*DOCUMENTS[1], *DOCUMENTS[1]), ((0, 17), (17, 34)))
    out = KVArray.empty(KV_SPEC, 34)
    assert load(library, library.find(twice), out).tolist() == [*range(17), *range(17)]
    for values in out.values:
        assert torch.equal(values[:, :17], values[:, 17:])


def test_other_tenants_and_other_beginnings_find_nothing(library):
    library.save(DOCUMENTS[0], kv_of(0))
    store = library._store
    assert not Library(store, store.identity(KV_SPEC, "bob"), BEHIND).find(PROMPT)
    assert not Library(store, store.identity(KV_SPEC, "alice")).find(PROMPT)


def test_a_damaged_segment_is_new_text(library, tier):
    for number in (0, 1):
        library.save(DOCUMENTS[number], kv_of(number))
    found = library.find(PROMPT)
    (key,) = found[1].match.keys
    frame = bytearray(tier.get(key))
    frame[-20] ^= 1
    tier.delete(key)
    tier.put([(key, frame)])
    into = load(library, found, KVArray.empty(KV_SPEC, len(PROMPT.token_ids)))
    assert into.tolist() == [-1] * 2 + list(range(17)) + [-1] * 43
    assert library._store.metrics.snapshot()["chunks_corrupt"] == 1


def test_a_segment_that_vanishes_is_new_text(library, tier):
    library.save(DOCUMENTS[0], kv_of(0))
    found = library.find(PROMPT)
    tier.delete(found[0].match.keys[0])
    assert set(load(library, found, KVArray.empty(KV_SPEC, len(PROMPT.token_ids))).tolist()) == {-1}


def test_a_prompt_without_segments(library):
    empty = Layout((1, 2, 3))
    assert library.find(empty) == library.missing(empty) == []
    assert load(library, [], KVArray.empty(KV_SPEC, 3)).tolist() == [-1] * 3
