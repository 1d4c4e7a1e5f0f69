"""MemoryTier: frames in RAM, gone with the process."""

from __future__ import annotations

from collections.abc import Callable

from kvstore.in_process import InProcessTier
from kvstore.tier import Frame


class MemoryTier(InProcessTier[memoryview]):
    """Keeps the frames it is given, without copying them: whoever puts a bytearray must not change it after."""

    name = "memory"

    def _keeping(self, frame: Frame) -> Callable[[], memoryview]:
        return memoryview(frame).toreadonly

    def _given(self, kept: memoryview) -> memoryview:
        return kept
