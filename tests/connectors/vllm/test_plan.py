"""What `Plan` does for one or two requests, case by case. Chunks of 4 tokens, blocks of 2."""

import pytest

from connectors.vllm.owner import Owner
from connectors.vllm.plan import LOAD_S, LOOKUP_S, Copy, Plan, Scheduled, Step

BLOCKS = tuple(range(100, 120))


class Recorder:
    """A store that only remembers what it was told."""

    def __init__(self):
        self.finds, self.loads, self.saves, self.forgotten = [], [], [], []

    def find(self, request_id, owner, tokens):
        self.finds.append((request_id, len(tokens)))

    def load(self, request_id, start, num_tokens, slots):
        self.loads.append((request_id, start, num_tokens, list(slots)))

    def save(self, job, owner, tokens, slots):
        self.saves.append((job, list(tokens), list(slots)))

    def forget(self, request_id):
        self.forgotten.append(request_id)


class Bench:
    """A plan with 3 slots for loads and 3 for saves, its store and its clock."""

    def __init__(self, **settings):
        self.store, self.now = Recorder(), 0.0
        self.plan = Plan(self.store, 4, 2, [0, 1, 2], [10, 11, 12], lambda: self.now, **settings)

    def arrive(self, request_id="a", num_tokens=13, **reads):
        tokens = [*range(num_tokens)]
        names = [bytes(tokens[:end]) for end in range(2, num_tokens + 1, 2)]
        self.plan.arrived(request_id, Owner(), tokens, names, **reads)
        return tokens, names

    def loaded(self, num_chunks=3, num_computed=0, **arrived):
        """A request of which so much is found and loaded."""
        self.arrive(**arrived)
        self.plan.found("a", num_chunks)
        assert self.plan.available("a", num_computed) is None
        self.plan.loaded("a", num_chunks - num_computed // 4, num_chunks)

    def run(self, num_computed, num_scheduled, request_id="a"):
        running = {request_id: Scheduled(num_computed, num_scheduled, lambda: BLOCKS)}
        return Step(self.plan.take_loads(), self.plan.saves(running))

    def free(self):
        return sorted(self.plan._load_slots), sorted(self.plan._save_slots)

    ALL_FREE = [0, 1, 2], [10, 11, 12]


@pytest.fixture
def bench():
    return Bench()


def test_nothing_is_promised_before_it_is_loaded(bench):
    bench.arrive()
    assert bench.plan.available("a", 0) is None
    bench.plan.found("a", 3)
    assert bench.plan.available("a", 0) is None
    assert bench.store.loads == [("a", 0, 13, [0, 1, 2])]
    bench.plan.loaded("a", 3, 3)
    assert bench.plan.available("a", 0) == 12
    assert bench.plan.available("a", 0) == 12


@pytest.mark.parametrize(("num_tokens", "promised"), [(8, 4), (9, 8), (11, 8)])
def test_the_last_token_is_never_promised(bench, num_tokens, promised):
    bench.arrive(num_tokens=num_tokens)
    bench.plan.found("a", num_tokens // 4)
    bench.plan.available("a", 0)
    assert bench.store.loads == [("a", 0, num_tokens, [0, 1][: promised // 4])]
    bench.plan.loaded("a", promised // 4, num_tokens // 4)
    assert bench.plan.available("a", 0) == promised


def test_what_the_engine_has_is_not_copied(bench):
    bench.loaded(num_computed=6)
    assert bench.store.loads == [("a", 4, 13, [0, 1])]
    assert bench.plan.available("a", 6) == 6
    bench.plan.allocated("a", BLOCKS, 6)
    (job,) = bench.run(6 + 6, 1).loads
    assert job.copies == (Copy(0, 2, (103,)), Copy(1, 0, (104, 105)))


def test_slots_are_free_once_their_copies_are_done(bench):
    bench.loaded()
    bench.plan.allocated("a", BLOCKS, 12)
    (job,) = bench.run(12, 1).loads
    bench.plan.finished("a")
    assert bench.free() == ([], [10, 11, 12])
    bench.plan.copied([job.number])
    assert bench.free() == bench.ALL_FREE


def test_a_request_computed_after_all_returns_its_slots(bench):
    bench.loaded()
    bench.plan.allocated("a", BLOCKS, 0)
    assert bench.run(0, 13).loads == ()
    assert bench.free()[0] == [0, 1, 2]


def test_an_aborted_request_returns_what_was_loaded_for_it(bench):
    bench.loaded()
    bench.plan.finished("a")
    assert bench.free() == bench.ALL_FREE


def test_a_local_hit_that_grew_into_what_is_loaded_shortens_the_promise(bench):
    bench.loaded()
    assert bench.plan.available("a", 10) == 2
    assert bench.plan.available("a", 12) == 0
    assert bench.free() == bench.ALL_FREE


def test_a_local_hit_that_shrank_is_loaded_again_and_waited_for(bench):
    bench.loaded(num_computed=4)
    assert bench.plan.available("a", 2) is None
    assert bench.store.loads[-1] == ("a", 0, 13, [1, 0, 2])
    bench.plan.loaded("a", 3, 3)
    assert bench.plan.available("a", 2) == 10


def test_a_local_hit_that_shrank_is_computed_where_the_store_has_ended(bench):
    bench.loaded(num_computed=4)
    bench.plan.store_ended()
    assert bench.plan.available("a", 2) == 0
    assert len(bench.store.loads) == 1
    assert bench.free() == bench.ALL_FREE


def test_a_request_that_does_not_read_is_not_looked_up_when_preempted(bench):
    bench.arrive(reads=False)
    assert bench.plan.available("a", 0) == 0
    bench.plan.allocated("a", BLOCKS, 0)
    assert bench.plan.available("a", 0) == 0
    assert bench.store.finds == []


def test_a_preempted_request_is_looked_up_with_all_its_tokens(bench):
    tokens, names = bench.arrive(num_tokens=7)
    bench.plan.found("a", 0)
    assert bench.plan.available("a", 0) == 0
    bench.plan.allocated("a", BLOCKS, 0)
    tokens += [7, 8]
    names.append(bytes(tokens[:8]))
    assert bench.plan.available("a", 0) is None
    assert bench.store.finds == [("a", 7), ("a", 9)]


def test_a_store_that_does_not_answer_is_given_up(bench):
    bench.arrive()
    bench.now += LOOKUP_S + 0.1
    assert bench.plan.available("a", 0) == 0
    assert bench.store.forgotten == ["a"]
    bench.arrive("b")
    assert bench.plan.available("b", 0) == 0
    bench.plan.found("a", 3)
    bench.arrive("c")
    assert bench.plan.available("c", 0) is None


def test_slots_of_a_load_that_is_given_up_are_free_when_it_ends(bench):
    bench.arrive()
    bench.plan.found("a", 3)
    bench.plan.available("a", 0)
    bench.now += LOAD_S + 0.1
    assert bench.plan.available("a", 0) == 0
    bench.plan.finished("a")
    assert bench.free()[0] == []
    bench.plan.loaded("a", 1, 3)
    assert bench.free() == bench.ALL_FREE


def test_who_waits_too_long_for_slots_does_not_blame_the_store(bench):
    bench.loaded()
    bench.arrive("b")
    bench.plan.found("b", 3)
    assert bench.plan.available("b", 0) is None
    bench.now += LOAD_S + 0.1
    assert bench.plan.available("b", 0) == 0
    assert bench.plan.answers


def test_a_load_of_which_nothing_came_is_not_tried_again(bench):
    bench.arrive()
    bench.plan.found("a", 3)
    bench.plan.available("a", 0)
    bench.plan.loaded("a", 0, 0)
    assert bench.plan.available("a", 0) == 0
    bench.plan.allocated("a", BLOCKS, 0)
    assert bench.plan.available("a", 0) == 0
    assert bench.free() == bench.ALL_FREE


def test_the_prompt_is_saved_at_the_end_of_the_step_that_computes_it(bench):
    tokens, _ = bench.arrive(reads=False)
    bench.plan.allocated("a", BLOCKS, 0)
    assert bench.run(0, 3).saves == ()
    (job,) = bench.run(3, 6).saves
    assert job.copies == (Copy(10, 0, (100, 101)), Copy(11, 0, (102, 103)))
    assert bench.store.saves == []
    bench.plan.copied([job.number])
    assert bench.store.saves == [(job.number, tokens[:8], [10, 11])]
    assert bench.free()[1] == [12]
    bench.plan.saved(job.number)
    assert bench.free() == bench.ALL_FREE


def test_guessed_tokens_are_not_saved(bench):
    tokens, names = bench.arrive(num_tokens=6, reads=False)
    bench.plan.allocated("a", BLOCKS, 0)
    assert len(bench.run(0, 6).saves) == 1
    tokens.append(6)
    assert bench.run(6, 3).saves == ()  # two of them guessed
    tokens.append(7)
    names.append(bytes(tokens[:8]))
    (job,) = bench.run(7, 3).saves
    assert (job.start, job.copies) == (4, (Copy(11, 0, (102, 103)),))


def test_chunks_that_the_store_has_are_not_saved(bench):
    bench.loaded(num_chunks=2)
    bench.plan.allocated("a", BLOCKS, 8)
    (job,) = bench.run(8, 5).saves
    assert job.copies == (Copy(10, 0, (104, 105)),)


def test_chunks_on_their_way_to_the_store_are_not_saved_again(bench):
    for request_id in "ab":
        bench.arrive(request_id, reads=False)
        bench.plan.allocated(request_id, BLOCKS, 0)
    assert len(bench.run(0, 8, "a").saves) == 1
    assert bench.run(0, 8, "b").saves == ()


def test_a_chunk_before_one_that_is_on_its_way_is_saved_alone(bench):
    for request_id in "ab":
        bench.arrive(request_id, reads=False)
        bench.plan.allocated(request_id, BLOCKS, 0)
    (first,) = bench.run(0, 4, "a").saves
    bench.run(4, 4, "a")
    bench.plan.copied([first.number])
    bench.plan.saved(first.number)
    (job,) = bench.run(0, 12, "b").saves
    assert [copy.blocks for copy in job.copies] == [(100, 101)]
    (job,) = bench.run(12, 1, "b").saves
    assert [copy.blocks for copy in job.copies] == [(104, 105)]


def test_what_does_not_fit_the_slots_is_saved_later_or_not_at_all(bench):
    bench.arrive(num_tokens=21, reads=False)
    bench.plan.allocated("a", BLOCKS, 0)
    (job,) = bench.run(0, 21).saves
    assert len(job.copies) == 3
    assert bench.run(21, 1).saves == ()
    bench.plan.copied([job.number])
    bench.plan.saved(job.number)
    bench.plan._save_slots.pop()
    bench.plan._save_slots.pop()
    (job,) = bench.run(22, 1).saves
    assert (job.start, len(job.copies)) == (12, 1)
    bench.plan.finished("a")
    assert bench.plan.counts["chunks_not_saved"] == 1


def test_a_save_that_no_worker_could_copy_returns_its_slots(bench):
    bench.arrive(reads=False)
    bench.plan.allocated("a", BLOCKS, 0)
    (job,) = bench.run(0, 13).saves
    bench.plan.not_copied(job.number)
    assert bench.store.saves == []
    assert bench.free() == bench.ALL_FREE


@pytest.mark.parametrize("copied_before", [True, False])
def test_a_store_that_ends_leaves_no_slot_behind(bench, copied_before):
    bench.arrive()
    bench.plan.found("a", 3)
    bench.plan.available("a", 0)
    bench.plan.finished("a")
    bench.arrive("b", reads=False)
    bench.plan.allocated("b", BLOCKS, 0)
    (job,) = bench.run(0, 13, "b").saves
    if copied_before:
        bench.plan.copied([job.number])
    bench.plan.store_ended()
    if not copied_before:
        assert bench.free()[1] == []  # a worker may be writing them
        bench.plan.copied([job.number])
    assert bench.free() == bench.ALL_FREE
    bench.arrive("c")
    assert bench.plan.available("c", 0) == 0


def test_an_engine_may_only_take_or_only_give():
    takes, gives = Bench(saves=False), Bench(finds=False)
    takes.loaded(num_chunks=2)
    takes.plan.allocated("a", BLOCKS, 8)
    assert takes.run(8, 5).saves == ()
    gives.arrive()
    assert gives.plan.available("a", 0) == 0
    gives.plan.allocated("a", BLOCKS, 0)
    assert len(gives.run(0, 13).saves) == 1
    assert gives.store.finds == []
