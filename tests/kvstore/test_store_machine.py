"""KVStore over memory and disk against a dict, by hypothesis: whatever happens, KV is right or absent."""

import shutil
import tempfile
import time
from hashlib import sha256

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codec import KVArray, Lossless
from kvstore import DiskTier, KVStore, MemoryTier
from tests.kv import SPEC, bits, kv_of_any_bits

CHUNK = 3
prompts = st.lists(st.integers(0, 1), max_size=15)
tenants = st.sampled_from(["alice", "bob"])
places = st.integers(0, 10**6)


def kv_of(tenant, token_ids):
    """The one right KV of a prompt: each token's depends on the tenant and all tokens up to it."""
    whole = KVArray.empty(SPEC, len(token_ids))
    for place in range(len(token_ids)):
        digest = sha256(repr((tenant, token_ids[: place + 1])).encode()).digest()
        token = kv_of_any_bits(SPEC, 1, int.from_bytes(digest[:8], "little"))
        for here, there in zip(whole.keys + whole.values, token.keys + token.values, strict=True):
            here[:, place : place + 1] = there
    return whole


class StoreAgainstADict(RuleBasedStateMachine):
    clock = staticmethod(time.time)

    def __init__(self):
        super().__init__()
        self.path = tempfile.mkdtemp()
        self.saved, self.matches, self.store = set(), [], None

    @initialize(memory_frames=st.integers(1, 12), disk_frames=st.integers(1, 40))
    def open(self, memory_frames, disk_frames):
        self.capacities = 2500 * memory_frames, 2500 * disk_frames
        self.reopen()

    @rule()
    def reopen(self):
        if self.store:
            self.store.close()
        self.memory = MemoryTier(self.capacities[0], clock=self.clock)
        self.disk = DiskTier(self.path, self.capacities[1], clock=self.clock)
        self.store = KVStore([self.memory, self.disk], Lossless(), CHUNK)

    def identity(self, tenant):
        return self.store.identity(SPEC, tenant)

    @rule(tenant=tenants, token_ids=prompts, from_chunk=st.integers(0, 2))
    def save(self, tenant, token_ids, from_chunk):
        kv, start = kv_of(tenant, token_ids), CHUNK * from_chunk
        if start <= len(token_ids):
            saved = self.store.save(self.identity(tenant), token_ids, kv.tokens(start, len(token_ids)), start)
            assert saved.saved + saved.held + saved.declined == len(token_ids) // CHUNK
            self.saved |= {(tenant, tuple(token_ids[:end])) for end in range(CHUNK, len(token_ids) + 1, CHUNK)}

    @rule(tenant=tenants, token_ids=prompts)
    def match(self, tenant, token_ids):
        self.matches.append((tenant, token_ids, self.store.match(self.identity(tenant), token_ids)))

    @rule(tenant=tenants, token_ids=prompts)
    def match_and_load(self, tenant, token_ids):
        self.assert_right(tenant, token_ids, self.store.match(self.identity(tenant), token_ids))

    @rule(place=places)
    def load_what_was_matched_earlier(self, place):
        if self.matches:
            self.assert_right(*self.matches[place % len(self.matches)])

    def assert_right(self, tenant, token_ids, match):
        loaded = self.store.load(match)
        if loaded is not None:
            assert loaded.num_tokens <= match.num_tokens
            assert (tenant, tuple(token_ids[: loaded.num_tokens])) in self.saved
            assert bits(loaded) == bits(kv_of(tenant, token_ids).tokens(0, loaded.num_tokens))

    def some_key(self, tier, place):
        held = sorted(entry.key for entry in tier.entries())
        return held[place % len(held)] if held else None

    @rule(place=places)
    def delete(self, place):
        if key := self.some_key(self.store.tier, place):
            assert self.store.tier.delete(key)
            assert self.store.tier.get(key) is None

    @rule(place=places, bit=places, on_disk=st.booleans())
    def flip_a_bit(self, place, bit, on_disk):
        tier = self.disk if on_disk else self.memory
        key = self.some_key(tier, place)
        if key and (held := tier.get(key)) is not None:
            frame = bytearray(held)
            frame[bit // 8 % len(frame)] ^= 1 << bit % 8
            tier.put([(key, frame)])

    @rule(place=places, other=places, on_disk=st.booleans())
    def file_a_frame_under_another_key(self, place, other, on_disk):
        tier = self.disk if on_disk else self.memory
        key, wrong = self.some_key(tier, place), self.some_key(tier, other)
        if key and (held := tier.get(key)) is not None:
            tier.put([(wrong, bytes(held))])

    @rule()
    def repair(self):
        for _ in self.store.check(repair=True):
            pass
        assert all(verdict.problem is None for verdict in self.store.check())

    @invariant()
    def budgets_are_kept(self):
        if self.store:
            assert self.memory.size_bytes <= self.capacities[0]
            assert self.disk.size_bytes <= self.capacities[1]

    @invariant()
    def the_sums_of_the_disk_are_those_of_its_entries(self):
        if self.store:
            assert self.disk.size_bytes == sum(entry.size_bytes for entry in self.disk.entries())

    def teardown(self):
        if self.store:
            self.store.close()
        shutil.rmtree(self.path)


StoreAgainstADict.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestStoreAgainstADict = StoreAgainstADict.TestCase
