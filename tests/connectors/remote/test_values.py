"""What comes from a remote store is what was put there, or a miss that is counted and deleted."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.remote.memory_store import MemoryStore
from connectors.remote.remote_tier import RemoteTier
from connectors.remote.value import HEADER_BYTES, begun, name_of, parts_of, whole
from kvstore import CorruptFrame, InvalidRequest, Metrics, Terms
from kvstore.testing import frame, frames, held, key, prompt

KEYS = prompt("a", 3)


def value_of(which, terms=None):
    return b"".join(parts_of(which, frame(which), None, terms or Terms()))


@given(st.binary(min_size=1, max_size=3000), st.text(max_size=90), st.floats(1e9, 1e11) | st.just(float("inf")))
def test_a_value_says_all_that_was_put(content, tenant, expires_at_s):
    value = b"".join(parts_of(KEYS[1], content, KEYS[0], Terms(tenant, expires_at_s)))
    found = whole(value, name_of(KEYS[1]))
    assert (found.content, found.entry.size_bytes) == (content, len(content))
    assert (found.entry.parent, found.entry.terms) == (KEYS[0], Terms(tenant, expires_at_s))
    assert begun(value[: HEADER_BYTES + 1], name_of(KEYS[1])).content == content[:1]


@given(st.data())
def test_any_bit_that_flips_is_found(data):
    value = bytearray(value_of(KEYS[0]))
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptFrame):
        whole(value, name_of(KEYS[0]))


@given(st.integers(0, HEADER_BYTES + 999))
def test_what_is_cut_is_found(num_bytes):
    with pytest.raises(CorruptFrame):
        whole(value_of(KEYS[0])[:num_bytes], name_of(KEYS[0]))


@given(st.binary(max_size=2000))
def test_anything_else_is_found(value):
    with pytest.raises(CorruptFrame):
        begun(value, name_of(KEYS[0]))


def test_another_keys_value_is_found():
    with pytest.raises(CorruptFrame, match="belongs to"):
        begun(value_of(KEYS[1]), name_of(KEYS[0]))


def test_a_tenants_name_that_does_not_fit_is_refused():
    with pytest.raises(InvalidRequest):
        value_of(KEYS[0], Terms("x" * 385))
    with RemoteTier(MemoryStore()) as tier:
        assert tier.put(frames(KEYS), terms=Terms("x" * 385)) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        value_of(KEYS[1])[:-1],
        value_of(KEYS[1])[:700] + b"x" + value_of(KEYS[1])[701:],
        value_of(KEYS[0]),
        b"somebody else's" * 100,
        frame(KEYS[1]),
    ],
    ids=["torn", "flipped", "another's", "foreign", "bare"],
)
def test_what_is_wrong_is_a_miss_counted_and_deleted_there(wrong):
    store, metrics = MemoryStore(), Metrics()
    with RemoteTier(store, metrics, deadline_s=20.0) as tier:
        tier.put(frames([KEYS[0], KEYS[2]]))
        tier.flush(20.0)
        asyncio.run(store.put(name_of(KEYS[1]), [wrong]))
        assert tier.match(KEYS) == 3
        assert [held(tier, each) for each in KEYS] == [frame(KEYS[0]), None, frame(KEYS[2])]
        assert metrics.snapshot()["remote_rejected"] == 1
        assert tier.match(KEYS) == 1
        assert {entry.key for entry in tier.entries()} == {KEYS[0], KEYS[2]}
        tier.put(frames([KEYS[1]]))
        tier.flush(20.0)
        assert held(tier, KEYS[1]) == frame(KEYS[1])


def test_names_that_are_none_of_ours_are_left_alone():
    store = MemoryStore()
    with RemoteTier(store, deadline_s=20.0) as tier:
        asyncio.run(store.put("frames/of-somebody", [b"x" * 1000]))
        tier.put(frames([key("a")]))
        tier.flush(20.0)
        assert [entry.key for entry in tier.entries()] == [key("a")]
        assert tier.size_bytes == 1000
        assert asyncio.run(store.sizes(["frames/of-somebody"])) == [1000]
