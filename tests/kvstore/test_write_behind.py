"""WriteBehind: a put returns when the fastest tier has it; those below get it later, together, or it is counted."""

import threading
import time

import pytest

from kvstore import MemoryTier, Metrics, Terms, Tiers
from kvstore.testing import FRAME_BYTES, frame, frames, key, prompt
from kvstore.tier import NO_TERMS
from kvstore.write_behind import WriteBehind
from tests.kvstore.faulty import FaultyTier

PATIENCE_S = 30.0


class SlowTier(MemoryTier):
    """Waits before every put until it may go on, and notes how many frames came at once."""

    def __init__(self, capacity_bytes):
        super().__init__(capacity_bytes)
        self.may_go_on, self.asked, self.together = threading.Event(), threading.Event(), []

    def put(self, entries, prefix=(), terms=NO_TERMS):
        self.asked.set()
        assert self.may_go_on.wait(PATIENCE_S)
        self.together.append(len(entries))
        return super().put(entries, prefix, terms)


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def slow():
    tier = SlowTier(1 << 20)
    yield tier
    tier.may_go_on.set()


@pytest.fixture
def behind(slow, metrics):
    behind = WriteBehind(Tiers([MemoryTier(20 * FRAME_BYTES), slow]), metrics, capacity_bytes=10 * FRAME_BYTES)
    yield behind
    slow.may_go_on.set()
    behind.close()


def test_a_put_does_not_wait_for_the_slow_tier(behind, slow):
    keys, terms = prompt("a", 3), Terms("ours", time.time() + 1000)
    assert behind.put(frames(keys), terms=terms) == 3
    assert slow.match(keys) == 0
    assert behind.waiting_bytes == 3 * FRAME_BYTES
    assert not behind.flush(0.05)
    slow.may_go_on.set()
    assert behind.flush(PATIENCE_S)
    assert behind.waiting_bytes == 0
    assert [bytes(slow.get(each)) for each in keys] == [frame(each) for each in keys]
    assert [slow.entry(each).terms for each in keys] == [terms] * 3
    assert [slow.entry(each).parent for each in keys] == [None, *keys[:2]]


def test_what_continues_a_prompt_is_written_with_it(behind, slow):
    keys, others = prompt("a", 5), prompt("other", 2)
    behind.put(frames(keys[:1]))
    assert slow.asked.wait(PATIENCE_S)
    for index in range(1, 5):
        behind.put(frames(keys[index : index + 1]), keys[:index])
    behind.put(frames(others))
    slow.may_go_on.set()
    assert behind.flush(PATIENCE_S)
    assert slow.together == [1, 4, 2]
    assert slow.match(keys) == 5
    assert slow.match(others) == 2


def test_other_terms_are_written_apart(behind, slow):
    keys = prompt("a", 3)
    behind.put(frames(keys[:1]))
    assert slow.asked.wait(PATIENCE_S)
    behind.put(frames(keys[1:2]), keys[:1], Terms("ours"))
    behind.put(frames(keys[2:]), keys[:2], Terms("theirs"))
    slow.may_go_on.set()
    assert behind.flush(PATIENCE_S)
    assert slow.together == [1, 1, 1]
    assert [slow.entry(each).terms.tenant for each in keys] == ["", "ours", "theirs"]


def test_what_there_is_no_room_for_stays_in_the_fastest_tier_and_is_counted(behind, slow, metrics):
    keys = prompt("a", 12)
    assert behind.put(frames(keys[:8])) == 8
    assert behind.put(frames(keys[8:]), keys[:8]) == 4
    assert metrics.snapshot()["chunks_not_written"] == 4
    slow.may_go_on.set()
    assert behind.flush(PATIENCE_S)
    assert slow.match(keys) == 8
    assert behind.put(frames(keys[8:]), keys[:8]) == 4
    assert behind.flush(PATIENCE_S)
    assert slow.match(keys) == 12


def test_what_the_fastest_tier_declines_is_waited_for(behind, slow):
    keys = prompt("a", 30)
    slow.may_go_on.set()
    assert behind.put(frames(keys)) == 30
    assert slow.match(keys) == 30


def test_one_tier_alone_is_written_at_once(metrics):
    only = MemoryTier(1 << 20)
    behind = WriteBehind(Tiers([only]), metrics)
    assert behind.put(frames(prompt("a", 2))) == 2
    assert only.match(prompt("a", 2)) == 2
    behind.close()


def test_flushing_does_not_wait_for_what_comes_later(behind, slow):
    behind.put(frames(prompt("a", 2)))
    assert slow.asked.wait(PATIENCE_S)
    flushed = []
    waiting = threading.Thread(target=lambda: flushed.append(behind.flush(PATIENCE_S)))
    waiting.start()
    while not behind._changed._waiters:  # until it waits
        time.sleep(0.001)
    slow.asked.clear()
    behind.put(frames(prompt("b", 2)))
    slow.may_go_on.set()
    assert slow.asked.wait(PATIENCE_S)
    waiting.join()
    assert flushed == [True]


def test_a_tier_below_that_fails_costs_nobody_anything(metrics):
    below = FaultyTier(1 << 20, "put")
    behind = WriteBehind(Tiers([MemoryTier(1 << 20), below], metrics), metrics)
    assert behind.put(frames(prompt("a", 2))) == 2
    assert behind.flush(PATIENCE_S)
    assert metrics.snapshot()["tier_unavailable"] == 1
    below.refused.clear()
    assert behind.put(frames(prompt("b", 2))) == 2
    assert behind.flush(PATIENCE_S)
    assert below.match(prompt("b", 2)) == 2
    behind.close()


def test_an_error_that_nobody_expected_is_counted_and_the_next_run_is_written(metrics, monkeypatch, caplog):
    below = MemoryTier(1 << 20)
    put, failures = below.put, [RuntimeError("for a test")]

    def failing(*arguments):
        if failures:
            raise failures.pop()
        return put(*arguments)

    monkeypatch.setattr(below, "put", failing)
    failing.__name__ = "put"
    behind = WriteBehind(Tiers([MemoryTier(1 << 20), below]), metrics)
    behind.put(frames(prompt("a", 2)))
    assert behind.flush(PATIENCE_S)
    behind.put(frames(prompt("b", 2)))
    assert behind.flush(PATIENCE_S)
    assert below.match(prompt("b", 2)) == 2
    assert metrics.snapshot()["saves_failed"] == 1
    assert "writing 2 chunks behind failed" in caplog.text
    behind.close()


def test_closing_writes_what_waits_and_later_puts_stay_in_the_fastest_tier(behind, slow, metrics):
    keys = prompt("a", 6)
    behind.put(frames(keys[:1]))
    assert slow.asked.wait(PATIENCE_S)
    behind.put(frames(keys[1:4]), keys[:1])
    slow.may_go_on.set()
    behind.close()
    behind.close()
    assert slow.match(keys) == 4
    assert behind.put(frames(keys[4:]), keys[:4]) == 2
    assert slow.match(keys) == 4
    assert metrics.snapshot()["chunks_not_written"] == 2


def test_many_threads_lose_nothing(slow, metrics):
    slow.may_go_on.set()
    behind = WriteBehind(Tiers([MemoryTier(1 << 20), slow]), metrics)
    names = [f"{thread} {number}" for thread in range(4) for number in range(25)]

    def put(thread):
        for number in range(25):
            assert behind.put(frames([key(f"{thread} {number}")])) == 1

    threads = [threading.Thread(target=put, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    behind.close()
    assert all(bytes(slow.get(key(name))) == frame(key(name)) for name in names)


def test_prompts_that_are_put_at_the_same_time_are_each_written_together(behind, slow):
    one, other = prompt("one", 4), prompt("other", 4)
    behind.put(frames(prompt("first", 1)))
    assert slow.asked.wait(PATIENCE_S)
    for index in range(4):
        behind.put(frames(one[index : index + 1]), one[:index])
        behind.put(frames(other[index : index + 1]), other[:index])
    slow.may_go_on.set()
    assert behind.flush(PATIENCE_S)
    assert slow.together == [1, 4, 4]
    assert (slow.match(one), slow.match(other)) == (4, 4)


def test_of_a_frame_that_is_put_twice_the_last_one_stays(behind, slow):
    first, this, *_ = prompt("a", 3)
    behind.put(frames(prompt("first", 1)))
    assert slow.asked.wait(PATIENCE_S)
    behind.put(frames([first]))
    behind.put([(this, b"before")], [key("another")])
    behind.put([(this, b"after")], [first])
    slow.may_go_on.set()
    assert behind.flush(PATIENCE_S)
    assert bytes(slow.get(this)) == b"after"


def test_flushing_waits_for_what_stands_behind_runs_that_grow(behind, slow):
    keys, others = prompt("a", 4), prompt("other", 1)
    behind.put(frames(prompt("first", 1)))
    assert slow.asked.wait(PATIENCE_S)
    behind.put(frames(keys[:1]))
    behind.put(frames(others))
    flushed = []
    waiting = threading.Thread(target=lambda: flushed.append((behind.flush(PATIENCE_S), slow.match(others))))
    waiting.start()
    while not behind._changed._waiters:  # until it waits
        time.sleep(0.001)
    behind.put(frames(keys[1:]), keys[:1])
    slow.may_go_on.set()
    waiting.join()
    assert flushed == [(True, 1)]


def test_putting_nothing_is_no_error(behind):
    assert behind.put([]) == 0
    assert behind.flush(PATIENCE_S)


def test_a_durable_put_is_not_overtaken_by_an_earlier_one(slow, metrics):
    slow.durable = True
    behind = WriteBehind(Tiers([MemoryTier(1 << 20), slow]), metrics)
    first, later = frame(key("a")), frame(key("a"), version=1)
    behind.put([(key("a"), first)])
    assert slow.asked.wait(PATIENCE_S)
    behind.put(frames([key("b")]))
    behind.put([(key("b"), frame(key("b"), version=1))])
    slow.may_go_on.set()
    assert behind.put_durably([(key("a"), later), (key("b"), later)]) == 2
    behind.close()
    assert [bytes(slow.get(key(name))) for name in ("a", "b")] == [later, later]


def test_what_the_fastest_tier_declines_is_not_overtaken_by_an_earlier_put(behind, slow):
    keys, later = prompt("a", 30), Terms("later")
    behind.put(frames(keys[:3]))
    assert slow.asked.wait(PATIENCE_S)
    slow.may_go_on.set()
    assert behind.put(frames(keys), terms=later) == 30
    assert behind.flush(PATIENCE_S)
    assert {slow.entry(each).terms for each in keys} == {later}


def test_prompts_that_are_put_again_while_they_wait_are_written_in_turn(behind, slow):
    keys = prompt("a", 3)
    behind.put(frames(prompt("first", 1)))
    assert slow.asked.wait(PATIENCE_S)
    for _ in range(3):
        for index in range(3):
            behind.put(frames(keys[index : index + 1]), keys[:index])
    slow.may_go_on.set()
    assert behind.flush(PATIENCE_S)
    assert sum(slow.together) == 10
    assert slow.match(keys) == 3
