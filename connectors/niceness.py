"""How threads that save leave the cores to the engine."""

from __future__ import annotations

import os
import sys
import threading

_NICENESS = 10


def go_last() -> None:
    """The calling thread runs when others do not want to: the engine's go first when cores are short."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
