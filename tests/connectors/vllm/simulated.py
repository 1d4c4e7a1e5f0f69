"""A simulated store, and an engine that schedules as vLLM does, around a `Plan`. They assert what each must rely on.

The KV of a token is written as the tuple of all tokens up to it: equal where, and only where, the right KV is.
"""

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from itertools import pairwise

from connectors.vllm.owner import Owner
from connectors.vllm.plan import LOAD_S, Scheduled, Step

BLOCK, OWNER = 2, Owner()
GARBAGE = None


def kv_of(tokens, start, end):
    """The right KV of tokens `[start, end)`."""
    return [tuple(tokens[: place + 1]) for place in range(start, end)]


def blocks_of(num_tokens):
    return -(-num_tokens // BLOCK)


def slots_of(jobs):
    return [copy.slot for job in jobs for copy in job.copies]


class SimulatedStore:
    """Answers when it is told to; each kind of question in the order of asking."""

    def __init__(self, chunk_tokens, slots):
        self.chunk_tokens, self.slots = chunk_tokens, slots
        self.held, self.prompts, self.forgotten, self.ended = set(), {}, set(), False
        self.finds, self.loads, self.saves = deque(), deque(), deque()

    def find(self, request_id, owner, tokens):
        assert owner is OWNER
        assert not self.ended
        assert request_id not in self.forgotten
        self.finds.append((request_id, tuple(tokens)))

    def load(self, request_id, start, num_tokens, slots):
        assert not self.ended
        assert request_id not in self.forgotten
        assert slots
        assert start % self.chunk_tokens == 0
        assert start + len(slots) * self.chunk_tokens < num_tokens <= len(self.prompts[request_id])
        for slot in slots:
            self.slots[slot] = [GARBAGE] * self.chunk_tokens  # from now on they may be written
        self.loads.append((request_id, start, tuple(slots)))

    def save(self, job, owner, tokens, slots):
        assert owner is OWNER
        assert not self.ended
        self.saves.append((job, tuple(tokens), tuple(slots)))

    def forget(self, request_id):
        self.forgotten.add(request_id)

    def chunks(self, tokens):
        """The identity of each whole chunk: all tokens up to its end."""
        return [tuple(tokens[:end]) for end in range(self.chunk_tokens, len(tokens) + 1, self.chunk_tokens)]

    def leading(self, tokens):
        chunks = self.chunks(tokens)
        return next((count for count, chunk in enumerate(chunks) if chunk not in self.held), len(chunks))

    def answer_find(self, plan):
        request_id, tokens = self.finds.popleft()
        self.prompts[request_id] = tokens
        plan.found(request_id, self.leading(tokens))

    def answer_load(self, plan, num_lost=0):
        """The last `num_lost` chunks turn out to be corrupt."""
        request_id, start, slots = self.loads.popleft()
        tokens, first = self.prompts[request_id], start // self.chunk_tokens
        num_loaded = max(min(self.leading(tokens) - first, len(slots)) - num_lost, 0)
        self.held.difference_update(self.chunks(tokens)[first + num_loaded : first + len(slots)])
        for place, slot in zip(range(start, len(tokens), self.chunk_tokens), slots[:num_loaded], strict=False):
            self.slots[slot] = kv_of(tokens, place, place + self.chunk_tokens)
        plan.loaded(request_id, num_loaded, self.leading(tokens))

    def answer_save(self, plan, keeps=True):
        job, tokens, slots = self.saves.popleft()
        saved = self.chunks(tokens)[-len(slots) :]
        assert saved[-1] == tokens
        for chunk, slot in zip(saved, slots, strict=True):
            assert self.slots[slot] == kv_of(chunk, len(chunk) - self.chunk_tokens, len(chunk))
        if keeps:
            self.held.update(saved)
        plan.saved(job)

    def answer_all(self, plan, num_kinds=3):
        """All finds; with a second kind all saves, with a third all loads."""
        kinds = [(self.finds, self.answer_find), (self.saves, self.answer_save), (self.loads, self.answer_load)]
        for queue, answer in kinds[:num_kinds]:
            while queue:
                answer(plan)

    def end(self):
        self.ended = True
        for queue in (self.finds, self.loads, self.saves):
            queue.clear()


@dataclass(eq=False)
class Request:
    id: str
    tokens: list
    max_tokens: int
    reads: bool
    num_prompt: int = 0
    names: list = field(default_factory=list)
    blocks: list = field(default_factory=list)
    waits: list = field(default_factory=list)
    computed: int = 0
    expected: int = 0
    """Tokens that steps on their way may bring, if nothing is rejected."""

    def __post_init__(self):
        self.num_prompt = len(self.tokens)
        self.grow([])

    def grow(self, tokens):
        self.tokens += tokens
        ends = range((len(self.names) + 1) * BLOCK, len(self.tokens) + 1, BLOCK)
        self.names += [bytes(self.tokens[:end]) for end in ends]  # one list, as its reader keeps it

    @property
    def num_left(self):
        return self.num_prompt + self.max_tokens - len(self.tokens)


@dataclass(eq=False)
class Part:
    """What a step does for a request: tokens `[start, start + count)`, the last `drafts` of them guessed."""

    request: Request
    start: int
    count: int
    drafts: int
    samples: bool
    blocks: tuple
    dropped: bool = False
    stale: bool = False
    """The request was preempted meanwhile."""


@dataclass
class Flight:
    step: object
    parts: list
    fresh: list


class SimulatedEngine:
    def __init__(self, plan, slots, num_blocks, clock):
        self.plan, self.slots, self.clock = plan, slots, clock
        self.contents = [[GARBAGE] * BLOCK for _ in range(num_blocks)]
        self.free, self.users = deque(range(num_blocks)), Counter()
        self.cached, self.name_of = {}, {}
        self.waiting, self.running, self.flights = [], [], deque()
        self.unreported, self.fresh = [], []

    # Blocks and the engine's own prefix cache.

    def take(self, count):
        taken = [self.free.popleft() for _ in range(count)]
        for block in taken:
            self.evict(block)
            self.users[block] += 1
        self.fresh += taken
        return taken

    def evict(self, block):
        if name := self.name_of.pop(block, None):
            del self.cached[name]

    def give_back(self, request):
        for block in reversed(request.blocks):
            self.users[block] -= 1
            if not self.users[block]:
                self.free.append(block)
        request.blocks, request.computed, request.expected = [], 0, 0

    def cache(self, request, end):
        """Tokens that are known may be found by others as soon as a step is to compute them."""
        for block, name in zip(request.blocks, request.names[: min(end, len(request.tokens)) // BLOCK], strict=False):
            if block not in self.name_of and name not in self.cached:
                self.cached[name], self.name_of[block] = block, name

    def hits(self, request):
        hits = []
        for name in request.names[: (len(request.tokens) - 1) // BLOCK] if request.reads else []:
            if name not in self.cached:
                break
            hits.append(self.cached[name])
        return hits

    # Requests.

    def arrive(self, request):
        self.waiting.append(request)
        self.plan.arrived(request.id, OWNER, request.tokens, request.names, request.reads)

    def finish(self, request):
        for queue in (self.waiting, self.running):
            if request in queue:
                queue.remove(request)
        self.give_back(request)
        for part in self.on_their_way(request):
            part.dropped = True
        self.plan.finished(request.id)

    def preempt(self, request, drop):
        """`drop`: what is on its way for it is dropped, as in a reset of the cache; else it still comes."""
        self.running.remove(request)
        self.waiting.insert(0, request)
        self.give_back(request)
        for part in self.on_their_way(request):
            part.stale, part.dropped = True, part.dropped or drop

    def on_their_way(self, request):
        return [part for flight in self.flights for part in flight.parts if part.request is request]

    # A step: planned, perhaps while the one before is under way; then executed.

    def schedule(self, budget, drafts=0, refused=False):
        """`refused`: nothing more is taken in, though the plan may have promised something for it."""
        parts, self.fresh = [], []
        preempted = False
        for request in list(self.running):
            if request in self.running and budget and not self.surely_ends(request):
                preempted |= self.make_room(request, count := self.count(request, request.computed, budget, drafts))
                if request in self.running:
                    budget -= count
                    parts.append(self.part(request, request.computed, count))
        if not preempted:
            self.take_in(parts, budget, drafts, refused)
        scheduled = {
            part.request.id: Scheduled(part.start, part.count, lambda part=part: part.blocks) for part in parts
        }
        self.flights.append(Flight(Step(self.plan.take_loads(), self.plan.saves(scheduled)), parts, self.fresh))

    def surely_ends(self, request):
        return request.expected and request.computed + 2 - request.expected >= request.num_prompt + request.max_tokens

    def count(self, request, computed, budget, drafts):
        missing = len(request.tokens) + request.expected - computed
        return min(missing + (drafts if missing == 1 else 0), budget)

    def make_room(self, request, count):
        """Whether others, and at last the request itself, were preempted for it."""
        missing, preempted = blocks_of(request.computed + count) - len(request.blocks), False
        while missing > len(self.free):
            self.preempt(victim := self.running[-1], drop=False)
            preempted = True
            if victim is request:
                return True
        request.blocks += self.take(max(missing, 0))
        return preempted

    def take_in(self, parts, budget, drafts, refused):
        for request in list(self.waiting):
            if not budget:
                break
            if any(part.stale and not part.dropped for part in self.on_their_way(request)):
                continue
            hits = self.hits(request)
            available = self.available(request, len(hits) * BLOCK)
            if available is None:
                continue
            request.computed = len(hits) * BLOCK + available
            count = self.count(request, request.computed, budget, drafts)
            needed = blocks_of(request.computed + count) - len(hits)
            if refused or needed > sum(block not in hits for block in self.free):
                request.computed = 0
                break
            for block in hits:
                self.users[block] += 1
                if block in self.free:
                    self.free.remove(block)
            request.blocks = hits + self.take(needed)
            self.plan.allocated(request.id, request.blocks, available)
            self.waiting.remove(request)
            self.running.append(request)
            budget -= count
            parts.append(self.part(request, request.computed, count))

    def available(self, request, num_computed):
        available = self.plan.available(request.id, num_computed)
        if not request.reads:
            return 0  # whatever the plan says
        if available is None:
            self.wait(request, num_computed)
        else:
            request.waits = []
        if available:
            assert available % BLOCK == 0
            assert 0 < available < len(request.tokens) - num_computed
        return available

    def wait(self, request, num_computed):
        """What may be waited for: the look-up, slots, the load. Twice it may be another than when last asked."""
        if request.waits and num_computed < request.waits[-1][1]:
            request.waits = []  # more has to be loaded now
        request.waits.append((self.clock(), num_computed))
        asked = [when for when, _ in request.waits]
        assert sum(later - earlier > LOAD_S for earlier, later in pairwise(asked)) <= 2

    def part(self, request, start, count):
        known = len(request.tokens) + request.expected
        drafts = max(start + count - known, 0)
        self.cache(request, start + count)
        request.computed = start + count
        samples = request.computed >= known
        request.expected += samples * (1 + drafts)
        return Part(request, start, count, drafts, samples, tuple(request.blocks))

    def execute(self, accepted=0, sampled=0, report=True, fails=False):
        """Of each request's drafts `accepted` are right. The bits of `sampled` are the new tokens.

        `fails`: what is to be saved cannot be copied.
        """
        flight = self.flights.popleft()
        for block in flight.fresh:
            self.contents[block] = [GARBAGE] * BLOCK
        self.copy_loads(flight)
        outputs = [self.forward(part, accepted, sampled) for part in flight.parts]
        for part in flight.parts:
            self.check(part)
        if fails:
            for job in flight.step.saves:
                self.plan.not_copied(job.number)
            flight.step = replace(flight.step, saves=())
        self.copy_saves(flight.step.saves)
        for part, new in zip(flight.parts, outputs, strict=True):
            self.update(part, new)
        self.unreported += [*flight.step.loads, *flight.step.saves]
        if report:
            done, self.unreported = self.unreported, []
            self.plan.copied([job.number for job in done])

    def copy_loads(self, flight):
        for copy in (copy for job in flight.step.loads for copy in job.copies):
            assert set(copy.blocks) <= set(flight.fresh), "others may read that block"
            for index, block in enumerate(copy.blocks):
                start = copy.start + index * BLOCK
                self.contents[block] = self.slots[copy.slot][start : start + BLOCK]

    def copy_saves(self, jobs):
        for copy in (copy for job in jobs for copy in job.copies):
            self.slots[copy.slot] = [kv for block in copy.blocks for kv in self.contents[block]]

    def forward(self, part, accepted, sampled):
        """Writes its KV; the tokens that it brings."""
        tokens, accepted = part.request.tokens, min(accepted, part.drafts)
        new = [sampled >> index & 1 for index in range(accepted + 1)] if part.samples else []
        right = kv_of(tokens + new[:accepted], 0, len(tokens) + accepted)
        for place in range(part.start, part.start + part.count):
            kv = right[place] if place < len(right) else GARBAGE
            self.contents[part.blocks[place // BLOCK]][place % BLOCK] = kv
        return new

    def check(self, part):
        """What it reads is right."""
        for place, kv in enumerate(kv_of(part.request.tokens, 0, min(part.start, len(part.request.tokens)))):
            assert self.contents[part.blocks[place // BLOCK]][place % BLOCK] == kv

    def update(self, part, new):
        request = part.request
        if not new or part.dropped:
            return
        rejected = part.drafts + 1 - len(new)
        for later in self.on_their_way(request):
            later.start -= rejected
        request.grow(new[: request.num_left])
        if not part.stale:
            request.computed -= rejected
            request.expected -= 1 + part.drafts
            self.cache(request, request.computed - request.expected)
        if not request.num_left:
            self.finish(request)
