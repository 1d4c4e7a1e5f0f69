"""The process's memory, told what a service is: frames leave memory to the frames that come next, and what was imported
stays.

Left to itself, glibc gives it back to the system at once, and a MiB that the system hands out anew, page by page and
zeroed, was measured to take seven times as long as what is then written to it.
"""

from __future__ import annotations

import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT_BYTES = 256 << 20  # free at the end of the heap, before any of it goes
_FRAME_BYTES = 32 << 20  # what is longer is the system's again as soon as it is free


def serve_from_memory() -> None:
    """For the whole process, when all is imported. What is only for glibc is left out where there is none."""
    gc.freeze()  # or every full collection would look at all that torch consists of, while requests wait
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _FRAME_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
