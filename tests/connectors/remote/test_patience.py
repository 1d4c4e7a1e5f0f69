"""What a prompt may wait: the deadline in all, and as long as it takes while that is sooner than computing."""

import pytest

from connectors.remote.patience import Prompts
from kvstore.testing import key, prompt
from tests.clock import Clock

KEYS = prompt("a", 100)


@pytest.fixture
def clock():
    return Clock()


def wait(patience, clock, seconds):
    """Waits for so long, or as long as it may; how long that was."""
    with patience.waiting() as left_s:
        waited_s = min(seconds, left_s)
        clock.now_s += waited_s
    return waited_s


def test_all_waits_of_a_prompt_together_take_the_deadline_at_most(clock):
    prompts = Prompts(1.0, lambda: 0.0, clock)
    prompts.begin(KEYS)
    assert sum(wait(prompts.of(each), clock, 0.3) for each in KEYS) == pytest.approx(1.0)


def test_a_load_that_is_faster_than_computing_goes_on(clock):
    prompts = Prompts(1.0, lambda: 0.5, clock)
    prompts.begin(KEYS)
    for each in KEYS:
        assert wait(prompts.of(each), clock, 0.45) == 0.45
        prompts.of(each).came()


@pytest.mark.parametrize("chunk_s", [0.01, 0.1, 0.5, 3.0])
def test_a_prompt_is_later_by_the_deadline_at_most(clock, chunk_s):
    for took_s in (0.02, 0.2, 0.6, 0.99):
        prompts = Prompts(1.0, lambda: chunk_s, clock)
        prompts.begin(KEYS)
        waited_s = spared_s = 0.0
        for each in KEYS:
            got_in_s = wait(prompts.of(each), clock, took_s)
            waited_s += got_in_s
            if got_in_s < took_s:
                break
            spared_s += chunk_s
            prompts.of(each).came()
        assert waited_s <= spared_s + 1.0 + 1e-9


def test_where_computing_is_not_known_quick_chunks_come_on_and_slow_ones_do_not(clock):
    prompts = Prompts(1.0, lambda: 0.0, clock)
    prompts.begin(KEYS)
    for each in KEYS:
        assert wait(prompts.of(each), clock, 0.2) == 0.2
        prompts.of(each).came()
    prompts.begin(KEYS)
    waited_s = 0.0
    for each in KEYS:
        waited_s += wait(prompts.of(each), clock, 0.8)
        prompts.of(each).came()
    assert waited_s < 0.3 * 100


def test_a_prompt_asked_for_again_begins_again(clock):
    prompts = Prompts(1.0, lambda: 0.0, clock)
    wait(prompts.begin(KEYS), clock, 5.0)
    assert wait(prompts.of(KEYS[3]), clock, 1.0) == 0.0
    prompts.begin(KEYS[:10])
    assert wait(prompts.of(KEYS[3]), clock, 1.0) == 1.0


def test_who_asks_for_a_chunk_long_after_begins_again(clock):
    prompts = Prompts(1.0, lambda: 0.0, clock)
    wait(prompts.begin(KEYS), clock, 5.0)
    clock.now_s += 11
    assert wait(prompts.of(KEYS[0]), clock, 1.0) == 1.0
    assert wait(prompts.of(key("of no prompt")), clock, 0.5) == 0.5
