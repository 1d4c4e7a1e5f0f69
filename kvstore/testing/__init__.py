"""Contract tests for tiers and eviction policies: inherit one, say how to make yours, and run any test runner.

    class TestMyTier(TierContract):
        def make_tier(self, tmp_path, capacity_bytes):
            return MyTier(tmp_path / "mine", capacity_bytes)

A place that others put and drop from as well keeps the `HoldingContract`, which every tier does. The tests take
`tmp_path`, an empty directory, as pytest's fixture gives it. Plain asserts, no imports of a runner.
"""

from kvstore.testing.eviction import EvictionContract, nobody
from kvstore.testing.holding import HoldingContract
from kvstore.testing.made_up import FRAME_BYTES, frame, frames, held, key, prompt
from kvstore.testing.room import QuotaContract
from kvstore.testing.tiers import TierContract

__all__ = [
    "FRAME_BYTES",
    "EvictionContract",
    "HoldingContract",
    "QuotaContract",
    "TierContract",
    "frame",
    "frames",
    "held",
    "key",
    "nobody",
    "prompt",
]
