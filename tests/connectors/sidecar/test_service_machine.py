"""The service against a dict, by hypothesis: two tenants and an admin, each with what is its own and nothing else."""

import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import xxhash
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codec import CorruptFrame
from connectors.sidecar.callers import Caller
from connectors.sidecar.problems import Problem
from connectors.sidecar.service import Service
from kvstore import ChunkKey, DiskTier, EntryFilter, MemoryTier, Metrics, Tiers
from kvstore.testing import prompt
from tests.connectors.sidecar.sound import sound

ROOMY_BYTES, PATIENCE_S = 64 << 20, 30.0
PROMPTS = [prompt("a", 3), [*prompt("a", 1), *prompt("fork", 2)], prompt("b", 2)]
KEYS = sorted({key for each in PROMPTS for key in each})
CALLERS = [Caller(None), Caller("ours"), Caller("theirs")]
FRAMES = {(key, seed): sound(key, 50, seed) for key in KEYS for seed in range(3)}

callers, keys, prompts = st.sampled_from(CALLERS), st.sampled_from(KEYS), st.sampled_from(PROMPTS)


@dataclass
class Kept:
    tenant: str
    frame: bytes
    parent: ChunkKey | None
    expires_at_s: float
    pinned: bool = False


class ServiceAgainstADict(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.directory, self.now_s = Path(tempfile.mkdtemp()), 2e9
        self.kept, self.service = {}, None

    @initialize(memory_bytes=st.sampled_from([4000, ROOMY_BYTES]))
    def open(self, memory_bytes):
        self.memory_bytes = memory_bytes
        self.begin()

    def begin(self):
        self.memory = MemoryTier(self.memory_bytes, clock=lambda: self.now_s)
        self.disk = DiskTier(self.directory, ROOMY_BYTES, clock=lambda: self.now_s)
        self.tiers = Tiers([self.memory, self.disk])
        self.service = Service(self.tiers, Metrics(), clock=lambda: self.now_s)

    @rule()
    def end_and_begin_again(self):
        self.end()
        self.begin()

    def end(self):
        self.service.close()
        self.tiers.close()

    def alive(self):
        return {key: kept for key, kept in self.kept.items() if kept.expires_at_s > self.now_s}

    def seen(self, caller):
        return {key: kept for key, kept in self.alive().items() if caller.tenant in (None, kept.tenant)}

    def held(self, caller, keys):
        seen = self.seen(caller)
        return next((index for index, key in enumerate(keys) if key not in seen), len(keys))

    @rule(
        tenant=st.sampled_from(["ours", "theirs", ""]),
        keys=prompts,
        start=st.integers(0, 2),
        seed=st.integers(0, 2),
        ttl_s=st.sampled_from([0, 0, 10]),
        durable=st.booleans(),
    )
    def put(self, tenant, keys, start, seed, ttl_s, durable):
        entries = [(key, FRAMES[key, seed]) for key in keys[start:]]
        before = keys[start - 1] if start else None
        alive = self.alive()
        others = (index for index, (key, _) in enumerate(entries) if key in alive and alive[key].tenant != tenant)
        put = self.service.put(tenant, entries, before, ttl_s, durable)
        assert put.stored == next(others, len(entries))
        if self.memory_bytes < ROOMY_BYTES:  # what it drops is to be had once it is below
            assert self.service.behind.flush(PATIENCE_S)
        until_s = self.now_s + ttl_s if ttl_s else math.inf
        for index, (key, frame) in enumerate(entries[: put.stored]):
            self.kept[key] = Kept(tenant, frame, keys[start + index - 1] if start + index else None, until_s)

    @rule(key=keys, other=keys)
    def put_what_is_no_frame_of_that_key(self, key, other):
        wrong = FRAMES[other, 0] if other != key else FRAMES[key, 0][:-1]
        with pytest.raises(CorruptFrame):
            self.service.put("ours", [(key, wrong)])

    @rule(caller=callers, key=keys)
    def get(self, caller, key):
        kept, frame = self.seen(caller).get(key), self.service.get(caller, key)
        assert (None if frame is None else bytes(frame)) == (None if kept is None else kept.frame)
        at_hand = self.service.at_hand(caller, key)
        assert at_hand is None or bytes(at_hand) == kept.frame

    @rule(caller=callers, keys=prompts, lease_s=st.sampled_from([0, 5]))
    def match(self, caller, keys, lease_s):
        matched = self.service.match(caller, keys, lease_s)
        assert matched.held == self.held(caller, keys) == sum(more for _, more in matched.runs)
        assert (matched.lease is not None) == bool(lease_s and matched.held)
        if matched.lease is not None:
            assert matched.lease.keys == tuple(keys[: matched.held])
            assert all(
                not self.service.leases.release(matched.lease.id, each.name) for each in CALLERS if each != caller
            )
            assert self.service.leases.release(matched.lease.id, caller.name)

    @rule(caller=callers, keys=prompts)
    def find_in_files(self, caller, keys):
        assert self.service.behind.flush(PATIENCE_S)
        seen = self.seen(caller)
        for key, place in zip(keys, self.service.in_files(caller, keys), strict=True):
            assert (place is None) == (key not in seen)
            if place is not None:
                content = place.path.read_bytes()[place.offset : place.offset + place.size_bytes]
                assert content == seen[key].frame
                assert place.xxh3 == xxhash.xxh3_128_digest(content)

    @rule(caller=callers, keys=prompts, pinned=st.booleans())
    def pin(self, caller, keys, pinned):
        held = self.held(caller, keys)
        assert self.service.pin(caller, keys, pinned) == held
        for key in keys[:held]:
            self.kept[key].pinned = pinned

    @rule(caller=callers, keys=prompts)
    def touch(self, caller, keys):
        before = {key: entry.hits for key in KEYS if (entry := self.tiers.entry(key)) is not None}
        self.service.touch(caller, keys)
        seen = self.seen(caller)
        after = {key: entry.hits for key in KEYS if (entry := self.tiers.entry(key)) is not None}
        assert after == {key: hits + (key in keys and key in seen) for key, hits in before.items()}

    @rule(caller=callers, key=keys)
    def delete(self, caller, key):
        is_seen = key in self.seen(caller)
        assert self.service.delete(caller, [key]) == is_seen
        if is_seen:
            del self.kept[key]

    @rule(caller=callers, prefix=keys, pinned=st.booleans())
    def delete_what_lies_behind(self, caller, prefix, pinned):
        if prefix not in self.seen(caller):
            with pytest.raises(Problem):
                self.service.select(caller, EntryFilter(), prefix, pinned)
            return
        self.delete_selected(caller, self.service.select(caller, EntryFilter(), prefix, pinned), {prefix}, pinned)

    @rule(caller=callers, tenant=st.sampled_from(["ours", "theirs", None]), pinned=st.booleans())
    def delete_by_tenant(self, caller, tenant, pinned):
        chosen = {key for key, kept in self.seen(caller).items() if tenant in (None, kept.tenant)}
        self.delete_selected(caller, self.service.select(caller, EntryFilter(tenant), None, pinned), chosen, pinned)

    def delete_selected(self, caller, selected, chosen, pinned):
        seen = self.seen(caller)
        doomed = {key for key in seen if self.path(seen, key) & chosen}
        if not pinned:
            doomed -= {each for key in seen if seen[key].pinned for each in self.path(seen, key)}
        assert {entry.key for entry in selected} == doomed
        places = {entry.key: place for place, entry in enumerate(selected)}
        assert all(places[key] < places[seen[key].parent] for key in doomed if seen[key].parent in doomed)
        assert self.service.delete(caller, [entry.key for entry in selected]) == len(doomed)
        for key in doomed:
            del self.kept[key]

    def path(self, seen, key):
        """A chunk and all before it, as far as they are seen."""
        path = set()
        while key in seen and key not in path:
            path.add(key)
            key = seen[key].parent
        return path

    @rule(caller=callers, key=keys)
    def quarantine(self, caller, key):
        is_seen = key in self.seen(caller)
        assert self.service.quarantine(caller, key, "for a test") == is_seen
        if is_seen:
            del self.kept[key]

    @rule(seconds=st.sampled_from([1, 11]))
    def wait(self, seconds):
        self.now_s += seconds

    @invariant()
    def each_sees_what_is_its_own(self):
        if self.service:
            for caller in CALLERS:
                seen = self.seen(caller)
                tree = self.service.tree(caller)
                assert {entry.key for entry in tree.prefix_first()} == set(seen)
                for key in KEYS:
                    entry, kept = self.service.entry(caller, key), seen.get(key)
                    assert (entry is None) == (kept is None)
                    assert entry is None or (entry.terms.tenant, entry.parent) == (kept.tenant, kept.parent)

    def teardown(self):
        if self.service:
            self.end()
            with DiskTier(self.directory, ROOMY_BYTES, clock=lambda: self.now_s) as disk:
                assert {entry.key: bytes(disk.get(entry.key)) for entry in disk.entries()} == {
                    key: kept.frame for key, kept in self.alive().items()
                }
        shutil.rmtree(self.directory)


TestServiceAgainstADict = ServiceAgainstADict.TestCase
TestServiceAgainstADict.settings = settings(max_examples=40, stateful_step_count=30)
