"""SecondSight, and tiers that send down only what was seen twice."""

import time

import pytest

from kvstore import DiskTier, MemoryTier, SecondSight, Terms, Tiers
from kvstore.testing import FRAME_BYTES, frame, frames, key, prompt
from tests.kvstore.faulty import FaultyTier


def used(tiers, keys):
    """Touches, and waits for what follows from it."""
    tiers.touch(keys)
    assert tiers.background.flush(10)


@pytest.fixture
def fast():
    return MemoryTier(20 * FRAME_BYTES)


@pytest.fixture
def slow():
    return FaultyTier(100 * FRAME_BYTES)


@pytest.fixture
def tiers(fast, slow):
    return Tiers([fast, slow], admission=SecondSight())


def test_a_prompt_is_admitted_as_far_as_it_was_seen():
    admission, keys = SecondSight(), prompt("a", 5)
    assert admission.admitted(keys[:3]) == 0
    assert admission.admitted(keys) == 3
    assert admission.admitted(keys) == 5
    assert admission.admitted([]) == 0


def test_what_was_seen_longest_ago_is_forgotten_a_prompts_end_first():
    admission, keys = SecondSight(most_keys=3), prompt("a", 3)
    admission.admitted(keys)
    admission.admitted([key("b")])
    assert admission.admitted(keys) == 2


def test_what_is_saved_once_stays_above(tiers, fast, slow):
    keys = prompt("a", 4)
    assert tiers.put(frames(keys[:2])) == 2
    assert tiers.put(frames(keys[2:]), keys[:2]) == 2  # one save in two groups
    assert (fast.match(keys), slow.match(keys)) == (4, 0)


def test_what_is_used_goes_below(tiers, slow):
    keys = prompt("a", 4)
    tiers.put(frames(keys))
    used(tiers, keys[:3])
    assert slow.match(keys) == 3
    assert slow.get(keys[2]) == frame(keys[2])
    assert slow.entry(keys[2]).parent == keys[1]


def test_what_is_saved_again_goes_below_with_all_before_it(tiers, fast, slow):
    keys = prompt("a", 4)
    tiers.put(frames(keys))
    fast.delete(keys[3])
    assert tiers.put(frames(keys[3:]), keys[2:3]) == 1
    assert slow.match(keys) == 4
    assert slow.entry(keys[0]).parent is None


def test_without_its_prefix_nothing_goes_below(tiers, fast, slow):
    keys = prompt("a", 4)
    tiers.put(frames(keys))
    fast.delete(keys[1])
    used(tiers, keys)
    assert slow.match(keys) == 1
    assert [slow.match([each]) for each in keys] == [1, 0, 0, 0]


def test_what_no_tier_holds_is_not_acknowledged(tiers, slow):
    keys = prompt("a", 30)
    assert tiers.put(frames(keys)) == 20
    assert slow.match(keys) == 0
    assert tiers.put(frames(keys[20:]), keys[:20]) == 10  # seen a second time: from hand to below
    assert slow.match(keys) == 30


def test_a_frame_replaced_above_is_replaced_below(fast, slow):
    tiers = Tiers([fast, slow], admission=SecondSight(most_keys=1))
    keys = prompt("a", 2)
    slow.put(frames(keys))
    tiers.put([(keys[0], frame(keys[0], version=1))])
    fast.delete(keys[0])
    assert tiers.get(keys[0]) == frame(keys[0], version=1)


def test_each_chunk_goes_below_on_its_own_terms(tiers, slow):
    keys, soon = prompt("a", 3), Terms("t", time.time() + 1000)
    tiers.put(frames(keys[:2]), terms=soon)
    tiers.put(frames(keys[2:]), keys[:2], Terms("t"))
    used(tiers, keys)
    assert [slow.entry(each).terms for each in keys] == [soon, soon, Terms("t")]


def test_a_tier_below_that_fails_is_tried_again(tiers, slow):
    keys = prompt("a", 3)
    slow.refused.add("put")
    tiers.put(frames(keys))
    used(tiers, keys)
    slow.refused.clear()
    assert slow.match(keys) == 0
    used(tiers, keys)
    assert slow.match(keys) == 3


def test_a_single_tier_holds_all_at_once(slow):
    assert Tiers([slow], admission=SecondSight()).put(frames(prompt("a", 3))) == 3


def test_on_disk_stands_what_was_used(tmp_path):
    keys = prompt("a", 3)
    with Tiers([MemoryTier(20 * FRAME_BYTES), DiskTier(tmp_path, 1 << 20)], admission=SecondSight()) as tiers:
        tiers.put(frames(keys))
        used(tiers, keys[:2])
    with DiskTier(tmp_path, 1 << 20) as disk:
        assert disk.match(keys) == 2
