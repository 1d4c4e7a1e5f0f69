"""A key names everything its KV depends on: change any of it, and all later keys change, and no earlier one."""

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from kvstore import Identity, LoRA, Multimodal, chunk_keys
from tests.kv import SPEC

tokens = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=24)
names = st.text(max_size=8)
loras = st.none() | st.builds(LoRA, names, names)
identities = st.builds(Identity, st.just(SPEC), names, st.integers(1, 6), names, loras)

CHANGES = {
    "spec": lambda identity, text: replace(identity, spec=replace(SPEC, model=text)),
    "codec": lambda identity, text: replace(identity, codec=text),
    "chunk_tokens": lambda identity, text: replace(identity, chunk_tokens=identity.chunk_tokens + 1 + len(text)),
    "tenant": lambda identity, text: replace(identity, tenant=text),
    "lora name": lambda identity, text: replace(identity, lora=replace(identity.lora or LoRA("", ""), name=text)),
    "lora path": lambda identity, text: replace(identity, lora=replace(identity.lora or LoRA("", ""), path=text)),
    "no lora": lambda identity, text: replace(identity, lora=None),
}


@given(identities, tokens, st.sampled_from(sorted(CHANGES)), names)
def test_another_identity_shares_no_key(identity, token_ids, change, text):
    other = CHANGES[change](identity, text)
    assume(other != identity)
    assert not set(chunk_keys(identity, token_ids)) & set(chunk_keys(other, token_ids))


@given(identities, tokens, st.data())
def test_a_changed_token_changes_its_key_and_all_later_ones_only(identity, token_ids, data):
    place = data.draw(st.integers(0, len(token_ids) - 1))
    changed = list(token_ids)
    changed[place] = data.draw(st.integers(0, 2**32 - 1).filter(lambda token: token != token_ids[place]))
    assert_differ_from(place, identity, chunk_keys(identity, token_ids), chunk_keys(identity, changed))


@given(identities, tokens, tokens)
def test_more_tokens_leave_the_earlier_keys_alone(identity, token_ids, more):
    keys = chunk_keys(identity, token_ids)
    assert chunk_keys(identity, token_ids + more)[: len(keys)] == keys


@given(identities, tokens, names, names, st.data())
def test_another_image_changes_the_keys_from_its_place_on(identity, token_ids, content, other, data):
    assume(content != other)
    start, end = drawn_range(data, token_ids)
    one, two = ([Multimodal(name, start, end)] for name in (content, other))
    assert_differ_from(start, identity, chunk_keys(identity, token_ids, one), chunk_keys(identity, token_ids, two))


@given(identities, tokens, names, st.data())
def test_an_image_in_another_place_changes_the_keys_from_the_first_place_on(identity, token_ids, content, data):
    place, other = drawn_range(data, token_ids), drawn_range(data, token_ids)
    assume(place != other)
    first = min(place[0], other[0]) if place[0] != other[0] else place[0]
    keys, moved = (chunk_keys(identity, token_ids, [Multimodal(content, *where)]) for where in (place, other))
    assert_differ_from(first, identity, keys, moved)


@given(identities, tokens, names, st.data())
def test_an_image_changes_no_key_before_it_and_every_key_after(identity, token_ids, content, data):
    start, end = drawn_range(data, token_ids)
    with_image = chunk_keys(identity, token_ids, [Multimodal(content, start, end)])
    assert_differ_from(start, identity, chunk_keys(identity, token_ids), with_image)


def drawn_range(data, token_ids):
    start = data.draw(st.integers(0, len(token_ids) - 1))
    return start, data.draw(st.integers(start + 1, len(token_ids)))


def assert_differ_from(place, identity, keys, others):
    """Equal for the chunks that end at or before token `place`, different for every later chunk."""
    same = place // identity.chunk_tokens
    assert keys[:same] == others[:same]
    assert not set(keys[same:]) & set(others)
