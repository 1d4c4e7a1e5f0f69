"""`Plan` between a simulated engine and a simulated store, by hypothesis: whatever happens, KV is right or computed."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connectors.vllm.plan import LOAD_S, Plan
from tests.connectors.vllm.simulated import BLOCK, Request, SimulatedEngine, SimulatedStore, slots_of

prompts = st.builds(
    lambda token, length, tail: [token] * length + tail,
    st.sampled_from([0, 0, 0, 1]),
    st.integers(1, 14),
    st.lists(st.integers(0, 1), max_size=3),
)
places = st.integers(0, 10**6)
budgets = st.integers(1, 24)


class PlanBetweenEngineAndStore(RuleBasedStateMachine):
    @initialize(
        blocks_of_chunk=st.sampled_from([1, 2, 2, 3]),
        num_blocks=st.integers(14, 30),
        num_load_slots=st.integers(1, 8),
        num_save_slots=st.integers(1, 8),
    )
    def begin(self, blocks_of_chunk, num_blocks, num_load_slots, num_save_slots):
        self.now, self.asked, self.num_arrived = 0.0, {}, 0
        self.load_slots = range(num_load_slots)
        self.save_slots = range(num_load_slots, num_load_slots + num_save_slots)
        chunk_tokens, slots = blocks_of_chunk * BLOCK, {}
        self.store = SimulatedStore(chunk_tokens, slots)
        self.plan = Plan(self.store, chunk_tokens, BLOCK, self.load_slots, self.save_slots, lambda: self.now)
        self.engine = SimulatedEngine(self.plan, slots, num_blocks, lambda: self.now)

    # The engine.

    @rule(
        prompt=prompts,
        max_tokens=st.integers(1, 8),
        copies=st.sampled_from([1, 1, 2]),
        reads=st.integers(0, 5),
        num_held=st.integers(0, 8),
    )
    def arrive(self, prompt, max_tokens, copies, reads, num_held):
        """`num_held`: leading chunks that another engine has saved meanwhile."""
        self.store.held.update(self.store.chunks(prompt)[:num_held])
        for _ in range(copies):
            self.num_arrived += 1
            self.engine.arrive(Request(f"request {self.num_arrived}", list(prompt), max_tokens, reads > 0))

    @precondition(lambda self: len(self.engine.flights) < 2)
    @rule(budget=budgets, drafts=st.integers(0, 3), refused=st.booleans())
    def schedule(self, budget, drafts, refused):
        self.engine.schedule(budget, drafts, refused)

    @precondition(lambda self: self.engine.flights)
    @rule(accepted=st.integers(0, 3), sampled=st.integers(0, 15), report=st.booleans(), fails=st.integers(0, 5))
    def execute(self, accepted, sampled, report, fails):
        self.engine.execute(accepted, sampled, report, fails == 5)

    @rule(
        steps=st.integers(1, 8),
        budget=budgets,
        drafts=st.integers(0, 3),
        accepted=st.integers(0, 3),
        sampled=st.integers(0, 15),
        num_kinds=st.integers(0, 3),
    )
    def run(self, steps, budget, drafts, accepted, sampled, num_kinds):
        for _ in range(steps):
            self.engine.schedule(budget, drafts)
            self.engine.execute(accepted, sampled)
            self.store.answer_all(self.plan, num_kinds)

    @rule(place=places, drop=st.booleans())
    def preempt(self, place, drop):
        if running := self.engine.running:
            self.engine.preempt(running[place % len(running)], drop)

    @rule(place=places)
    def abort(self, place):
        if requests := self.engine.waiting + self.engine.running:
            self.engine.finish(requests[place % len(requests)])

    @rule(place=places)
    def evict(self, place):
        """The end of the engine's own cache, or all of it."""
        if unused := [block for block in self.engine.free if block in self.engine.name_of]:
            for block in unused[place % len(unused) :]:
                self.engine.evict(block)

    @rule(place=places)
    def evict_what_a_load_builds_on(self, place):
        for _ in range(2):
            self.store.answer_all(self.plan)
            self.engine.schedule(24, refused=True)
            self.engine.execute()
        self.store.answer_all(self.plan)
        self.evict(place)

    # The store.

    @rule(place=places)
    def store_loses(self, place):
        if held := sorted(self.store.held):
            self.store.held.remove(held[place % len(held)])

    @rule(count=st.integers(1, 4))
    def store_finds(self, count):
        for _ in range(min(count, len(self.store.finds))):
            self.store.answer_find(self.plan)

    @rule(count=st.integers(1, 4), num_lost=st.sampled_from([0, 0, 1, 2]))
    def store_loads(self, count, num_lost):
        for _ in range(min(count, len(self.store.loads))):
            self.store.answer_load(self.plan, num_lost)

    @rule(count=st.integers(1, 4), keeps=st.booleans())
    def store_saves(self, count, keeps):
        for _ in range(min(count, len(self.store.saves))):
            self.store.answer_save(self.plan, keeps)

    @precondition(lambda self: not self.store.ended)
    @rule(really=st.integers(0, 15))
    def store_ends(self, really):
        if really == 15:
            self.store.end()
            self.plan.store_ended()

    @rule(seconds=st.sampled_from([0.1, 1.1, LOAD_S + 1]))
    def time_passes(self, seconds):
        self.now += seconds

    # What always holds.

    @rule(silent=st.booleans())
    def everything_ends(self, silent):
        """Also where the store does not answer before the last request has."""
        for _ in range(400):
            if not self.engine.waiting + self.engine.running + [*self.engine.flights]:
                break
            if silent:
                self.now += LOAD_S + 1
            else:
                self.store.answer_all(self.plan)
            self.engine.schedule(24)
            while self.engine.flights:
                self.engine.execute()
        assert not self.engine.waiting + self.engine.running
        self.plan.copied([job.number for job in self.engine.unreported])
        self.engine.unreported = []
        self.store.answer_all(self.plan)
        assert sorted(self.plan._load_slots) == [*self.load_slots]
        assert sorted(self.plan._save_slots) == [*self.save_slots]

    def slots_in_use(self):
        """By what others do: of the engine's steps, the worker's jobs, the store's loads and saves."""
        jobs = [job for flight in self.engine.flights for job in (*flight.step.loads, *flight.step.saves)]
        stored = [slot for *_, slots in (*self.store.loads, *self.store.saves) for slot in slots]
        return slots_of(jobs + self.engine.unreported) + stored

    @invariant()
    def a_slot_is_in_one_place(self):
        free = [*self.plan._load_slots, *self.plan._save_slots]
        assert max(Counter(free + self.slots_in_use()).values()) == 1

    @invariant()
    def no_chunk_is_saved_twice_at_a_time(self):
        saved = slots_of(job for job in self.engine.unreported if slots_of([job])[0] in self.save_slots)
        saved += [slot for *_, slots in self.store.saves for slot in slots]
        chunks = [self.engine.slots[slot][-1] for slot in saved]
        assert len(set(chunks)) == len(chunks)

    @invariant()
    def the_store_is_not_waited_for_only_while_it_owes_an_answer(self):
        assert self.plan.answers or self.store.ended or self.store.finds or self.store.loads


PlanBetweenEngineAndStore.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestPlanBetweenEngineAndStore = PlanBetweenEngineAndStore.TestCase
