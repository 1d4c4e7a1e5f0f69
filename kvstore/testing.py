"""Contract tests for tiers and eviction policies: inherit one, say how to make yours, and run any test runner.

    class TestMyTier(TierContract):
        def make_tier(self, tmp_path, capacity_bytes):
            return MyTier(tmp_path / "mine", capacity_bytes)

The tests take `tmp_path`, an empty directory, as pytest's fixture gives it. Plain asserts, no imports of a runner.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from kvstore.eviction import EvictionPolicy
from kvstore.key import ChunkKey
from kvstore.tier import NO_TERMS, Frame, Terms, Tier

FRAME_BYTES = 1000


def key(name: str) -> ChunkKey:
    """A key that no prompt has."""
    return ChunkKey(sha256(name.encode()).digest())


def prompt(name: str, num_chunks: int) -> list[ChunkKey]:
    """Keys as of one prompt's chunks, first to last."""
    return [key(f"{name}/{index}") for index in range(num_chunks)]


def frame(of: ChunkKey, num_bytes: int = FRAME_BYTES, version: int = 0) -> bytes:
    """Bytes that belong to one key, length and version, and to no other."""
    seed = sha256(of.digest + bytes([version])).digest()
    return (seed * (num_bytes // len(seed) + 1))[:num_bytes]


def frames(keys: Sequence[ChunkKey], num_bytes: int = FRAME_BYTES) -> list[tuple[ChunkKey, Frame]]:
    """What `Tier.put` takes, for these keys."""
    return [(each, frame(each, num_bytes)) for each in keys]


def nobody(of: ChunkKey) -> bool:
    """Spares no key from eviction."""
    return False


def held(tier: Tier, of: ChunkKey) -> bytes | None:
    """A copy of what the tier holds under that key."""
    view = tier.get(of)
    return None if view is None else bytes(view)


class TierContract(ABC):
    """What every tier promises. `copies` is how often a tier may count one frame in its `size_bytes`."""

    copies = 1

    @abstractmethod
    def make_tier(self, tmp_path: Path, capacity_bytes: int) -> Tier:
        """A new, empty tier; `tmp_path` is its own."""

    def roomy(self, tmp_path: Path) -> Tier:
        return self.make_tier(tmp_path, 1 << 20)

    def tight(self, tmp_path: Path, num_frames: int) -> Tier:
        """Room for that many frames of FRAME_BYTES and not for one more."""
        return self.make_tier(tmp_path, num_frames * FRAME_BYTES + FRAME_BYTES // 2)

    def test_what_was_put_comes_back_byte_for_byte(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            for size in (1, 31, 4095, 4096, 4097, 100_000):
                this = key(str(size))
                assert tier.put([(this, frame(this, size))]) == 1
                assert held(tier, this) == frame(this, size)

    def test_any_kind_of_bytes_can_be_put(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            whole = frame(key("a"), 300)
            for kind in (whole, bytearray(whole), memoryview(whole), memoryview(bytearray(whole))[:]):
                tier.delete(key("a"))
                assert tier.put([(key("a"), kind)]) == 1
                assert held(tier, key("a")) == whole

    def test_a_returned_frame_is_read_only(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            tier.put([(key("a"), bytearray(frame(key("a"))))])
            view = tier.get(key("a"))
            assert view is not None
            assert view.readonly

    def test_an_unknown_key_is_a_miss(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            tier.put(frames([key("a")]))
            assert tier.get(key("b")) is None
            assert tier.where(key("b")) is None

    def test_match_counts_leading_keys_only(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 5)
            tier.put(frames(keys[:2]) + frames(keys[3:]))
            assert tier.match(keys) == 2
            assert tier.match(keys[3:]) == 2
            assert tier.match(keys[2:]) == 0
            assert tier.match([]) == 0

    def test_asking_does_not_change_what_goes_next(self, tmp_path: Path) -> None:
        old, new = [key(f"old {n}") for n in range(6)], [key(f"new {n}") for n in range(3)]
        survivors = []
        for name, questions in (("left alone", 0), ("asked", 20)):
            (tmp_path / name).mkdir()
            with self.tight(tmp_path / name, 6) as tier:
                for each in old:
                    tier.put(frames([each]))
                for _ in range(questions):
                    assert tier.match([old[0], old[2]]) == 2
                    assert len(list(tier.entries())) == 6
                for each in new:
                    tier.put(frames([each]))
                survivors.append([each for each in old if tier.match([each])])
        assert survivors[0] == survivors[1]

    def test_the_budget_is_never_exceeded(self, tmp_path: Path) -> None:
        capacity, choose = 20_000, random.Random(1)
        with self.make_tier(tmp_path, capacity) as tier:
            for number in range(40):
                keys = prompt(str(number % 25), choose.randint(1, 4))
                tier.put([(each, frame(each, choose.randint(1, 6000))) for each in keys])
                assert tier.size_bytes <= self.copies * capacity

    def test_size_is_the_sum_of_what_is_held(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            assert tier.size_bytes == 0
            tier.put(frames(prompt("a", 3), 700))
            tier.put(frames(prompt("a", 1), 100))
            assert tier.size_bytes == self.copies * (100 + 700 + 700)
            tier.delete(prompt("a", 3)[1])
            assert tier.size_bytes == self.copies * (100 + 700)

    def test_a_put_never_evicts_its_own_chunks(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 3) as tier:
            keys = prompt("a", 5)
            assert tier.put(frames(keys)) == 3
            assert tier.match(keys) == 3

    def test_a_put_never_evicts_its_prefix(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 4) as tier:
            keys = prompt("a", 6)
            tier.put(frames(keys[:2]))
            tier.put(frames(prompt("other", 2)))
            assert tier.put(frames(keys[2:]), prefix=keys[:2]) == 2
            assert tier.match(keys) == 4

    def test_a_put_makes_room_though_its_own_chunks_are_the_oldest(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 4) as tier:
            keys, others = prompt("a", 3), prompt("other", 2)
            tier.put(frames(keys[:2]))
            tier.put(frames(others))
            tier.delete(keys[0])
            tier.put(frames([key("filler")]))
            assert tier.put(frames(keys)) == 3
            assert tier.match(keys) == 3

    def test_an_oversized_frame_is_declined_with_all_that_follow(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 4) as tier:
            keys, others = prompt("a", 3), prompt("other", 2)
            tier.put(frames(others))
            huge = (keys[1], frame(keys[1], 10 * FRAME_BYTES))
            assert tier.put([(keys[0], frame(keys[0])), huge, (keys[2], frame(keys[2]))]) == 1
            assert tier.match(keys) == 1
            assert tier.get(keys[1]) is None
            assert tier.get(keys[2]) is None
            assert tier.match(others) == 2

    def test_putting_nothing_changes_nothing(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            assert tier.put([]) == 0
            assert list(tier.entries()) == []

    def test_a_prefix_never_goes_before_its_suffix(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 6) as tier:
            keys = prompt("a", 4)
            tier.put(frames(keys[:2]))
            tier.put(frames(keys[2:]), prefix=keys[:2])
            self.crowd_out(tier, keys)

    def test_chunks_put_in_a_ring_do_not_stop_a_put(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 4) as tier:
            first, second, third = prompt("a", 3)
            for before, behind in ((first, second), (second, third), (third, first)):
                tier.put(frames([behind]), prefix=[before])
            for number in range(6):
                tier.put(frames([key(f"other {number}")]))
                assert tier.size_bytes <= self.copies * 5 * FRAME_BYTES

    def test_a_used_prefix_never_goes_before_its_suffix(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 6) as tier:
            keys = prompt("a", 4)
            for each in keys:
                tier.put(frames([each]))
            tier.touch(keys)
            self.crowd_out(tier, keys)

    def crowd_out(self, tier: Tier, keys: Sequence[ChunkKey]) -> None:
        """Puts one other frame after the other; what is left of the prompt is always its beginning."""
        for number in range(8):
            tier.put(frames([key(f"other {number}")]))
            assert tier.match(keys) == sum(tier.match([each]) for each in keys)

    def test_a_view_survives_eviction_deletion_and_overwriting(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 3) as tier:
            keys = prompt("a", 3)
            tier.put(frames(keys))
            views = [tier.get(each) for each in keys]
            tier.put([(keys[0], frame(keys[0], version=1))])
            tier.delete(keys[1])
            for number in range(4):
                tier.put(frames([key(f"other {number}")]))
            assert tier.match(keys[2:]) == 0
            assert [bytes(view) for view in views if view is not None] == [frame(each) for each in keys]

    def test_putting_a_key_again_replaces_its_frame(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            tier.put(frames([key("a")]))
            assert tier.put([(key("a"), frame(key("a"), 3000, version=1))]) == 1
            assert held(tier, key("a")) == frame(key("a"), 3000, version=1)
            assert [entry.size_bytes for entry in tier.entries()] == [3000]

    def test_many_are_deleted_at_once_and_counted(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 4)
            tier.put(frames(keys))
            assert tier.delete_all([keys[3], key("never put"), keys[2]]) == 2
            assert tier.match(keys) == 2
            assert {entry.key for entry in tier.entries()} == set(keys[:2])

    def test_delete_forgets_and_says_whether_there_was_anything(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 3)
            tier.put(frames(keys))
            assert tier.delete(keys[1])
            assert not tier.delete(keys[1])
            assert tier.get(keys[1]) is None
            assert tier.match(keys) == 1

    def test_a_quarantined_frame_is_out_of_service(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 3)
            tier.put(frames(keys))
            tier.quarantine(keys[1], "a test says so")
            tier.quarantine(key("unknown"), "never held")
            assert tier.get(keys[1]) is None
            assert tier.match(keys) == 1

    def test_entries_lists_every_frame_once(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 4)
            tier.put(frames(keys))
            tier.put(frames(keys[:2]))
            assert sorted(entry.key for entry in tier.entries()) == sorted(keys)
            assert all(entry.size_bytes == FRAME_BYTES for entry in tier.entries())

    def test_a_use_is_counted_for_the_keys_that_are_held(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 2)
            tier.put(frames(keys))
            tier.touch([*keys[:1], key("unknown")])
            assert {entry.key: entry.hits for entry in tier.entries()} == {keys[0]: 1, keys[1]: 0}

    def test_an_entry_says_whose_a_frame_is_and_what_stands_before_it(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys, terms = prompt("a", 3), Terms("Ünal & Söhne", time.time() + 1000)
            tier.put(frames(keys[:1]))
            tier.put(frames(keys[1:]), keys[:1], terms)
            entries = [tier.entry(each) for each in keys]
            assert [entry and (entry.terms, entry.parent) for entry in entries] == [
                (NO_TERMS, None),
                (terms, keys[0]),
                (terms, keys[1]),
            ]
            assert {entry.key: entry for entry in tier.entries()} == dict(zip(keys, entries, strict=True))
            assert tier.entry(key("unknown")) is None

    def test_a_frame_whose_time_is_up_is_not_held(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 3)
            tier.put(frames(keys[:1]))
            tier.put(frames(keys[1:2]), keys[:1], Terms(expires_at_s=time.time() - 1))
            tier.put(frames(keys[2:]), keys[:2], Terms(expires_at_s=time.time() + 1000))
            assert [tier.get(each) is not None for each in keys] == [True, False, True]
            assert tier.match(keys) == 1
            assert tier.entry(keys[1]) is None
            assert {entry.key for entry in tier.entries()} == {keys[0], keys[2]}
            tier.touch(keys)
            assert tier.pin(keys) == 1
            assert tier.put(frames(keys[1:2]), keys[:1]) == 1
            assert tier.match(keys) == 3

    def test_what_has_expired_makes_room_first(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 3) as tier:
            old = prompt("old", 2)
            tier.put(frames(old))
            tier.put(frames([key("expired")]), terms=Terms(expires_at_s=time.time() - 1))
            tier.put(frames([key("new")]))
            assert tier.match(old) == 2
            assert tier.match([key("new")]) == 1

    def test_what_is_pinned_stays_until_it_is_not(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 4) as tier:
            keys = prompt("a", 2)
            tier.put(frames(keys))
            assert tier.pin([*keys, key("unknown")]) == 2
            assert tier.pin(keys) == 2
            for number in range(6):
                assert tier.put(frames([key(f"other {number}")])) == 1
            assert tier.match(keys) == 2
            assert {entry.key for entry in tier.entries() if entry.pinned} == set(keys)
            assert tier.pin(keys, pinned=False) == 2
            tier.put(frames(prompt("b", 4)))
            assert tier.match(keys[:1]) + tier.match(keys[1:]) == 0

    def test_a_budget_of_pinned_frames_declines(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 2) as tier:
            keys = prompt("a", 2)
            tier.put(frames(keys))
            tier.pin(keys)
            assert tier.put(frames([key("b")])) == 0
            assert tier.match(keys) == 2
            assert tier.delete(keys[1])
            assert tier.put(frames([key("b")])) == 1

    def test_threads_never_see_another_frame(self, tmp_path: Path) -> None:
        keys = prompt("a", 12)

        def hammer(seed: int, tier: Tier) -> None:
            choose = random.Random(seed)
            for _ in range(60):
                some = choose.sample(keys, 3)
                match choose.randrange(5):
                    case 0 | 1:
                        tier.put([(each, frame(each, version=choose.randrange(2))) for each in some])
                    case 2:
                        tier.delete(some[0])
                    case 3:
                        tier.touch(some)
                for each in some:
                    assert held(tier, each) in (None, frame(each), frame(each, version=1))
                assert 0 <= tier.match(some) <= 3
                assert all(entry.size_bytes == FRAME_BYTES for entry in tier.entries())

        with self.tight(tmp_path, 8) as tier:
            with ThreadPoolExecutor(4) as threads:
                for finished in [threads.submit(hammer, seed, tier) for seed in range(4)]:
                    finished.result()
            matched = [each for each in keys if tier.match([each])]
            assert sorted(matched) == sorted(entry.key for entry in tier.entries())
            assert tier.size_bytes <= self.copies * (8 * FRAME_BYTES + FRAME_BYTES // 2)

    def test_a_profile_it_keeps_comes_back(self, tmp_path: Path) -> None:
        content = frame(key("a profile"))
        fingerprint = sha256(content).hexdigest()
        with self.roomy(tmp_path) as tier:
            assert tier.profile(fingerprint) is None
            assert tier.profiles() == []
            if tier.keep_profile(fingerprint, content) and tier.keep_profile(fingerprint, content):
                assert tier.profile(fingerprint) == content
                assert tier.profiles() == [fingerprint]
            assert tier.profile("../writer.lock") is None
            assert list(tier.entries()) == []

    def test_closing_twice_is_safe(self, tmp_path: Path) -> None:
        tier = self.roomy(tmp_path)
        tier.put(frames([key("a")]))
        tier.close()
        tier.close()


class QuotaContract(ABC):
    """What tiers with quotas promise: no tenant gets more than its own, and none loses by another's."""

    @abstractmethod
    def make_tier(self, tmp_path: Path, capacity_bytes: int, quotas: Mapping[str, int]) -> Tier:
        """A new, empty tier; `tmp_path` is its own."""

    def test_a_tenant_at_its_quota_makes_room_for_itself(self, tmp_path: Path) -> None:
        with self.make_tier(tmp_path, 10 * FRAME_BYTES, {"small": 3 * FRAME_BYTES}) as tier:
            others = prompt("others", 6)
            tier.put(frames(others), terms=Terms("large"))
            for number in range(5):
                assert tier.put(frames([key(f"own {number}")]), terms=Terms("small")) == 1
            assert [tier.match([key(f"own {number}")]) for number in range(5)] == [0, 0, 1, 1, 1]
            assert tier.match(others) == 6

    def test_a_prompt_beyond_the_quota_is_kept_as_far_as_it_fits(self, tmp_path: Path) -> None:
        with self.make_tier(tmp_path, 10 * FRAME_BYTES, {"small": 3 * FRAME_BYTES}) as tier:
            keys = prompt("a", 5)
            assert tier.put(frames(keys), terms=Terms("small")) == 3
            assert tier.match(keys) == 3


class EvictionContract(ABC):
    """What every eviction policy promises."""

    @abstractmethod
    def make_policy(self) -> EvictionPolicy:
        """A new policy, for a tier that holds nothing."""

    def test_nothing_held_means_no_victim(self) -> None:
        assert self.make_policy().victim(nobody) is None

    def test_asking_for_the_victim_changes_nothing(self) -> None:
        policy = self.make_policy()
        for each in prompt("a", 4):
            policy.insert(each)
        assert policy.victim(nobody) == policy.victim(nobody)

    def test_unknown_keys_are_ignored(self) -> None:
        policy = self.make_policy()
        policy.touch(key("unknown"))
        policy.remove(key("unknown"))
        assert policy.victim(nobody) is None

    def test_a_victim_is_none_that_is_spared(self) -> None:
        policy, keys = self.make_policy(), prompt("a", 6)
        for each in keys:
            policy.insert(each)
        first = policy.victim(nobody)
        assert policy.victim(keys.__contains__) is None
        assert policy.victim(nobody) == first
        if first is not None:
            assert policy.victim(first.__eq__) not in (first, None)
            assert policy.victim(lambda each: each != keys[3]) == keys[3]

    def test_every_victim_is_held_and_goes_once(self) -> None:
        policy, known = self.make_policy(), set(prompt("a", 20))
        for each in sorted(known):
            policy.insert(each)
        for each in prompt("a", 5):
            policy.remove(each)
            known.remove(each)
        for each in prompt("a", 20)[::3]:
            policy.touch(each)
            policy.insert(each) if each in known else None
        while (victim := policy.victim(nobody)) is not None:
            assert victim in known
            known.remove(victim)
            policy.remove(victim, evicted=True)
