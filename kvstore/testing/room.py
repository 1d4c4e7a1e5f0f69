"""What every tier promises of its budget: who goes to make room, who stays, and what is declined."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from kvstore.key import ChunkKey
from kvstore.testing.made_up import FRAME_BYTES, frame, frames, held, key, prompt
from kvstore.tier import Terms, Tier


class RoomContract(ABC):
    """Of any tier. `copies` is how often it may count one frame in its `size_bytes`."""

    copies = 1

    @abstractmethod
    def make_tier(self, tmp_path: Path, capacity_bytes: int) -> Tier:
        """A new, empty tier; `tmp_path` is its own."""

    def tight(self, tmp_path: Path, num_frames: int) -> Tier:
        """Room for that many frames of FRAME_BYTES and not for one more."""
        return self.make_tier(tmp_path, num_frames * FRAME_BYTES + FRAME_BYTES // 2)

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

    def test_what_is_spared_stays_until_it_is_not(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 4) as tier:
            keys, spared = prompt("a", 2), set(prompt("a", 2))
            tier.put(frames(keys))
            tier.spared = spared
            for number in range(6):
                assert tier.put(frames([key(f"other {number}")])) == 1
            assert tier.match(keys) == 2
            assert not any(entry.pinned for entry in tier.entries())
            spared.clear()
            tier.put(frames(prompt("b", 4)))
            assert tier.match(keys[:1]) + tier.match(keys[1:]) == 0

    def test_a_budget_of_spared_frames_declines(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 2) as tier:
            keys = prompt("a", 2)
            tier.put(frames(keys))
            tier.spared = keys
            assert tier.put(frames([key("b")])) == 0
            assert tier.match(keys) == 2
            assert tier.put([(keys[1], frame(keys[1], version=1))], keys[:1]) == 1
            assert held(tier, keys[1]) == frame(keys[1], version=1)
            assert tier.delete(keys[1])
            assert tier.put(frames([key("b")])) == 1


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
