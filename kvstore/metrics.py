"""Counters of what happened: one flat name space, safe in threads, read as a dict."""

from __future__ import annotations

import threading
from collections import Counter

NAMES = {
    "chunks_saved": "chunks encoded and acknowledged by a tier",
    "chunks_held": "chunks not saved again because they were held already",
    "chunks_declined": "chunks no tier took",
    "saves_dropped": "saves dropped because the queue was full",
    "saves_failed": "saves that raised; the log has the error",
    "finds_failed": "prompts whose look-up raised; the log has the error and they were computed",
    "chunks_loaded": "chunks read, verified and decoded",
    "tokens_loaded": "tokens delivered from the store",
    "tokens_computed": "prompt tokens the engine had to compute",
    "tokens_not_loaded": "prompt tokens held and computed all the same, because that was expected to be sooner",
    "loads_failed": "loads that raised; the log has the error and the engine computed instead",
    "requests_blended": "prompts of which segments were reused behind other text than they were computed behind",
    "tokens_blended": "tokens of segments in those prompts, some of them computed again",
    "blends_checked": "blended prompts computed in full as well, to see that they stay close",
    "blending_stopped": "times blending ended because the answers checked were beyond the bound",
    "loading_ms": "milliseconds spent loading, where it is known what computing the same would have taken",
    "computing_spared_ms": "milliseconds that computing what was loaded meanwhile is expected to have taken",
    "chunks_vanished": "chunks matched and gone when they were loaded",
    "chunks_corrupt": "chunks that failed a check and were quarantined",
    "profiles_missing": "chunks not decoded because their profile was not to be had",
    "chunks_not_written": "chunks kept in the fastest tier alone, because too much waited to be written below it",
    "chunks_evicted": "chunks dropped to keep a byte budget",
    "device_out_of_memory": "chunks for which the device had no memory left, within the device tier's budget",
    "requests_bypassed": "requests the connector declined to serve from the store",
    "tier_unavailable": "calls a tier could not serve",
    "tier_skipped": "calls not made because the tier kept failing",
    "breakers_opened": "times a tier failed so often that it was not asked for a while",
    "chunks_prefetched": "chunks copied to the fastest tier before they were asked for",
    "frames_given": "frames the sidecar gave away",
    "frames_missed": "frames the sidecar was asked for and did not hold",
    "frames_described": "frames of which the sidecar said where they lie, to be read there",
    "frames_kept": "frames the sidecar was given and kept",
    "chunks_asked": "chunks of prompts the sidecar was asked how much of it holds",
    "chunks_matched": "leading chunks of those prompts that were held",
    "reports_failed": "reports of an engine that did not reach the sidecar",
    "remote_rejected": "values of a remote tier that were torn, foreign or another key's, and were deleted there",
    "remote_late": "times a remote tier was given up, because computing was expected to be sooner",
    "remote_hedged": "values asked of a remote tier's replica as well, because the first answer took long",
    "remote_writes_dropped": "chunks not written to a remote tier, because too many waited or the write failed",
    "prefetches_dropped": "reads in the background dropped because too many were under way",
}


class Metrics:
    """Counts by name; the names and their meanings are in NAMES."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, name: str, amount: int = 1) -> None:
        """Adds `amount` to counter `name`, which must be one of NAMES."""
        assert name in NAMES, f"unknown counter {name}"
        with self._lock:
            self._counts[name] += amount

    def snapshot(self) -> dict[str, int]:
        """Every counter by name, zeros included."""
        with self._lock:
            return {name: self._counts[name] for name in NAMES}
