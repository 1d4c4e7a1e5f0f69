"""What every tier with a budget of its own promises."""

from __future__ import annotations

import time
from pathlib import Path

from kvstore.testing.holding import HoldingContract, hammered
from kvstore.testing.made_up import FRAME_BYTES, frame, frames, held, key, prompt
from kvstore.testing.room import RoomContract
from kvstore.tier import Terms, Tier


class TierContract(HoldingContract, RoomContract):
    """What every tier that nobody else drops from promises, room and all."""

    def roomy(self, tmp_path: Path) -> Tier:
        return self.make_tier(tmp_path, 1 << 20)

    def test_the_size_of_a_frame_that_was_replaced_is_not_counted(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            tier.put(frames(prompt("a", 3), 700))
            tier.put(frames(prompt("a", 1), 100))
            assert tier.size_bytes == self.copies * (100 + 700 + 700)

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

    def test_a_use_is_counted_for_the_keys_that_are_held(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 2)
            tier.put(frames(keys))
            tier.touch([*keys[:1], key("unknown")])
            assert {entry.key: entry.hits for entry in tier.entries()} == {keys[0]: 1, keys[1]: 0}

    def test_a_frame_whose_time_is_up_is_not_pinned(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 2)
            tier.put(frames(keys[:1]))
            tier.put(frames(keys[1:]), keys[:1], Terms(expires_at_s=time.time() - 1))
            assert tier.pin(keys) == 1

    def test_threads_never_see_another_frame(self, tmp_path: Path) -> None:
        with self.tight(tmp_path, 8) as tier:
            hammered(tier)
            assert tier.size_bytes <= self.copies * (8 * FRAME_BYTES + FRAME_BYTES // 2)
