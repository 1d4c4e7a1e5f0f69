"""Plan: what the connector does for every request, step by step. Imports no vLLM and does nothing itself.

A request is looked up when it arrives. When the scheduler asks how much of it can be had, it has already found
what lies in the engine's own prefix cache; chunks behind that are loaded into slots of the staging memory, read
and verified, before any of them is promised. Promised chunks are copied from their slots into the engine's blocks
by the worker, at the start of the step that uses them. Chunks that the engine has computed are copied by the
worker into slots, at the end of the step, and saved from there.

    FINDING -> FOUND -> LOADING -> LOADED -> (allocated) RUNNING          and again, where it is preempted

Whatever does not come in time, or does not fit, is computed, or not saved. A slot belongs to one load or save, from
when it is taken until whoever writes or reads it has said that it is done.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from connectors.vllm.owner import Owner

LOOKUP_S, LOAD_S = 2.0, 10.0
"""How long a request waits for a store that does not answer; a load that takes longer than computing ends itself."""


class Store(Protocol):
    """Who finds, loads and saves, and says later what came of it: `Plan.found`, `Plan.loaded`, `Plan.saved`."""

    def find(self, request_id: str, owner: Owner, tokens: Sequence[int]) -> None:
        """How many chunks are held of a request; `loaded` chunks will be of the same."""

    def load(self, request_id: str, start: int, num_tokens: int, slots: Sequence[int]) -> None:
        """Fills `slots` with the chunks from token `start` on of a request of `num_tokens`."""

    def save(self, job: int, owner: Owner, tokens: Sequence[int], slots: Sequence[int]) -> None:
        """Saves the last chunks of `tokens`, which are in `slots`."""

    def forget(self, request_id: str) -> None:
        """A load of that request may end early, and no other follows. Saves under way go on."""


class Phase(Enum):
    FINDING = auto()
    FOUND = auto()
    LOADING = auto()
    LOADED = auto()
    NOTHING = auto()
    """Nothing more will be had for it, until it runs."""
    RUNNING = auto()


@dataclass(frozen=True)
class Copy:
    """Blocks of the engine and the slot they go to or come from: from token `start` of the chunk on, whole blocks."""

    slot: int
    start: int
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """Copies that the worker does in one step: of a request, from token `start` on."""

    number: int
    request_id: str
    start: int
    copies: tuple[Copy, ...]


@dataclass(frozen=True)
class Step:
    """What the worker is told: `loads` come before the step's forward pass, `saves` behind it."""

    loads: tuple[Job, ...] = ()
    saves: tuple[Job, ...] = ()


@dataclass(frozen=True)
class Scheduled:
    """A request in a step: tokens computed before it, tokens it computes, and the request's blocks, when asked for."""

    num_computed: int
    num_scheduled: int
    blocks: Callable[[], Sequence[int]]


@dataclass
class _Request:
    owner: Owner
    tokens: Sequence[int]
    names: Sequence[bytes]
    phase: Phase
    since_s: float
    """When somebody began to wait for what this phase waits for."""
    held: int = 0
    """Leading chunks that the store has, or is being given."""
    computed: int = 0
    """Leading chunks that the engine has computed, or was given."""
    start: int = 0
    slots: list[int] = field(default_factory=list)
    """Chunks loaded, or being loaded, from token `start` on."""
    reads: bool = True
    """Whether the store is asked for it, and asked again where it is preempted."""


@dataclass
class _Saving:
    owner: Owner
    tokens: list[int]
    names: list[bytes]
    slots: list[int]
    copied: bool = False


class Plan:
    """One engine's requests. Not safe in threads: the scheduler's calls it, and never waits in it."""

    def __init__(
        self,
        store: Store,
        chunk_tokens: int,
        block_tokens: int,
        load_slots: Collection[int],
        save_slots: Collection[int],
        clock: Callable[[], float] = time.monotonic,
        finds: bool = True,
        saves: bool = True,
    ) -> None:
        """Chunks are whole blocks. `finds`, `saves`: whether this engine takes from the store, and gives to it."""
        self._store, self._clock = store, clock
        self._chunk_tokens, self._block_tokens = chunk_tokens, block_tokens
        self._finds, self._saves = finds, saves
        self._load_slots, self._save_slots = (  # whichever was used last is the first to be used again
            sorted(slots, reverse=True) for slots in (load_slots, save_slots)
        )
        self._requests: dict[str, _Request] = {}
        self._abandoned: dict[str, deque[list[int]]] = {}  # slots of loads that nobody waits for, until they end
        self._loads: list[Job] = []
        self._copying: dict[int, list[int]] = {}
        self._saving: dict[int, _Saving] = {}
        self._being_saved: set[bytes] = set()
        self._next_job = 0
        self.answers = True
        """False while the store has left a request waiting for too long: nobody else waits until it says something."""
        self.counts: Counter[str] = Counter()

    # What the scheduler says.

    def arrived(
        self,
        request_id: str,
        owner: Owner,
        tokens: Sequence[int],
        names: Sequence[bytes],
        reads: bool = True,
    ) -> None:
        """A request, whose `tokens` grow as it is answered. Unless it `reads`, it is computed, and saved.

        `names` grow with them: one for each full block, equal for equal KV.
        """
        finds = reads and self._finds and self.answers and len(tokens) > self._chunk_tokens
        phase = Phase.FINDING if finds else Phase.NOTHING
        self._requests[request_id] = _Request(owner, tokens, names, phase, self._clock(), reads=reads)
        if finds:
            self._store.find(request_id, owner, tokens)

    def available(self, request_id: str, num_computed: int) -> int | None:
        """Tokens behind the `num_computed` the engine has, that it can have at once; None: ask again.

        Whole blocks, and never the last token: that one is always computed.
        """
        request = self._requests.get(request_id)
        if request is None:
            return 0
        if request.phase is Phase.RUNNING:  # preempted: its blocks are gone
            self._restart(request_id, request)
        if request.phase is Phase.FOUND:
            self._begin_load(request_id, request, num_computed)
        if request.phase is Phase.LOADED:
            return self._promised(request_id, request, num_computed)
        if request.phase is Phase.NOTHING:
            return 0
        if self._clock() - request.since_s > (LOOKUP_S if request.phase is Phase.FINDING else LOAD_S):
            self.counts["waits_given_up"] += 1
            self.answers = self.answers and request.phase is Phase.FOUND  # it waited for slots, not for the store
            self._give_up(request_id, request)
            return 0
        return None

    def _restart(self, request_id: str, request: _Request) -> None:
        finds = self._finds and self.answers and request.reads
        request.phase, request.since_s = Phase.FINDING if finds else Phase.NOTHING, self._clock()
        if finds:
            self._store.find(request_id, request.owner, request.tokens)

    def _begin_load(self, request_id: str, request: _Request, num_computed: int) -> None:
        start = num_computed // self._chunk_tokens * self._chunk_tokens
        usable = min(request.held, (len(request.tokens) - 1) // self._chunk_tokens)
        missing = usable - start // self._chunk_tokens
        if missing <= 0:
            request.phase = Phase.NOTHING
            return
        slots = [self._load_slots.pop() for _ in range(min(missing, len(self._load_slots)))]
        if not slots:  # others' loads hold all of them: asked again
            request.since_s = min(request.since_s, self._clock())
        else:
            request.phase, request.start, request.slots, request.since_s = Phase.LOADING, start, slots, self._clock()
            self._store.load(request_id, start, len(request.tokens), slots)

    def _promised(self, request_id: str, request: _Request, num_computed: int) -> int | None:
        end = request.start + len(request.slots) * self._chunk_tokens
        if request.start <= num_computed < end:
            return end - num_computed
        self._release(request_id, request)  # the engine's own cache has grown past it, or no longer reaches it
        if num_computed < request.start and self._finds:
            request.phase, request.since_s = Phase.FOUND, math.inf
            return self.available(request_id, num_computed)
        return 0

    def _give_up(self, request_id: str, request: _Request) -> None:
        self._store.forget(request_id)
        self._release(request_id, request)
        request.reads = False

    def _release(self, request_id: str, request: _Request) -> None:
        """Its slots are free, or will be when the store has ended the load that fills them."""
        if request.phase is Phase.LOADING:
            self._abandoned.setdefault(request_id, deque()).append(request.slots)
        else:
            self._load_slots.extend(request.slots)
        request.slots, request.phase = [], Phase.NOTHING

    def allocated(self, request_id: str, blocks: Sequence[int], num_external: int) -> None:
        """The request is in the next step, and `num_external` of the tokens promised are expected in its `blocks`."""
        request = self._requests.get(request_id)
        if request is None:
            return
        if num_external:
            end = request.start + len(request.slots) * self._chunk_tokens
            copies = self._copies(request, end - num_external, blocks)
            self._loads.append(self._job(request_id, end - num_external, copies))
            self._copying[self._loads[-1].number] = request.slots
            self.counts["tokens_promised"] += num_external
            request.slots = []
        self._release(request_id, request)
        request.phase = Phase.RUNNING

    def _copies(self, request: _Request, computed: int, blocks: Sequence[int]) -> list[Copy]:
        copies = []
        for index, slot in enumerate(request.slots):
            chunk = request.start + index * self._chunk_tokens
            first, end = max(chunk, computed), chunk + self._chunk_tokens
            if first < end:
                copies.append(Copy(slot, first - chunk, self._blocks(blocks, first, end)))
        return copies

    def _blocks(self, blocks: Sequence[int], start: int, end: int) -> tuple[int, ...]:
        return tuple(blocks[start // self._block_tokens : end // self._block_tokens])

    def _job(self, request_id: str, start: int, copies: Sequence[Copy]) -> Job:
        self._next_job += 1
        return Job(self._next_job, request_id, start, tuple(copies))

    def take_loads(self) -> tuple[Job, ...]:
        """What the next step needs copied before it: all that was promised to the requests allocated for it."""
        loads, self._loads = tuple(self._loads), []
        return loads

    def saves(self, scheduled: Mapping[str, Scheduled]) -> tuple[Job, ...]:
        """What is to be copied behind a step that runs these requests."""
        saves = [self._save(request_id, running) for request_id, running in scheduled.items()]
        return tuple(job for job in saves if job is not None)

    def _save(self, request_id: str, running: Scheduled) -> Job | None:
        """Of chunks whose tokens are all known, and so computed when the step is over, and which nobody is saving.

        What has no slot now is for a later step.
        """
        request = self._requests.get(request_id)
        if request is None or not self._saves:
            return None
        known = min(running.num_computed + running.num_scheduled, len(request.tokens))
        request.computed = known // self._chunk_tokens
        while request.held < request.computed and self._name(request, request.held) in self._being_saved:
            request.held += 1
        first, chunks = request.held, range(request.held, request.computed)
        on_its_way = (chunk for chunk in chunks if self._name(request, chunk) in self._being_saved)
        end = min(next(on_its_way, request.computed), first + len(self._save_slots))
        if end <= first:
            return None
        request.held = end
        slots = [self._save_slots.pop() for _ in range(end - first)]
        starts = range(first * self._chunk_tokens, end * self._chunk_tokens, self._chunk_tokens)
        blocks = running.blocks()
        copies = [
            Copy(slot, 0, self._blocks(blocks, start, start + self._chunk_tokens))
            for slot, start in zip(slots, starts, strict=True)
        ]
        job, names = self._job(request_id, starts[0], copies), [self._name(request, n) for n in range(first, end)]
        self._being_saved.update(names)
        tokens = list(request.tokens[: end * self._chunk_tokens])
        self._saving[job.number] = _Saving(request.owner, tokens, names, slots)
        return job

    def _name(self, request: _Request, chunk: int) -> bytes:
        """Of the chunk's last block, which names all before it."""
        return request.names[(chunk + 1) * self._chunk_tokens // self._block_tokens - 1]

    def copied(self, jobs: Collection[int]) -> None:
        """The workers have done these jobs."""
        for number in jobs:
            self._load_slots.extend(self._copying.pop(number, ()))
            if (saving := self._saving.get(number)) is not None:
                saving.copied = True
                if self._saves:
                    self._store.save(number, saving.owner, saving.tokens, saving.slots)
                else:  # the store has ended meanwhile
                    self.saved(number)

    def not_copied(self, job: int) -> None:
        """A worker has failed to do it: what was to be saved is not, and vLLM is told of what was to be loaded."""
        self._load_slots.extend(self._copying.pop(job, ()))
        if job in self._saving:
            self.saved(job)

    def finished(self, request_id: str) -> None:
        """Answered, or aborted. Its saves go on."""
        request = self._requests.pop(request_id, None)
        if request is not None:
            self.counts["chunks_not_saved"] += max(request.computed - request.held, 0) if self._saves else 0
            self._give_up(request_id, request)

    # What the store says.

    def found(self, request_id: str, num_chunks: int) -> None:
        """So many leading chunks of the request are held."""
        self.answers = True
        request = self._requests.get(request_id)
        if request is not None and request.phase is Phase.FINDING:
            request.phase, request.since_s = Phase.FOUND, math.inf
            request.held = max(request.held, num_chunks)

    def loaded(self, request_id: str, num_chunks: int, held: int) -> None:
        """The first `num_chunks` of the request's slots are filled, no more will be; `held` of its chunks are held."""
        self.answers = True
        if abandoned := self._abandoned.get(request_id):  # loads end in the order in which they began
            self._load_slots.extend(abandoned.popleft())
            if not abandoned:
                del self._abandoned[request_id]
            return
        request = self._requests[request_id]
        self._load_slots.extend(request.slots[num_chunks:])
        del request.slots[num_chunks:]
        request.phase = Phase.LOADED if request.slots else Phase.NOTHING
        request.held, request.reads = held, bool(request.slots)

    def saved(self, job: int) -> None:
        """The slots of that job have been read."""
        self.answers = True
        saving = self._saving.pop(job)
        self._save_slots.extend(saving.slots)
        self._being_saved.difference_update(saving.names)

    def store_ended(self) -> None:
        """Nothing will be found, loaded or saved any more."""
        self._finds = self._saves = False
        for request_id, request in self._requests.items():
            if request.phase in (Phase.FINDING, Phase.FOUND, Phase.LOADING):
                self._release(request_id, request)
        for abandoned in self._abandoned.values():
            for slots in abandoned:
                self._load_slots.extend(slots)
        self._abandoned.clear()
        for number in [number for number, saving in self._saving.items() if saving.copied]:
            self.saved(number)
