"""SaveQueue: saving happens here, on one thread beside the engine, and never makes the engine wait."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from codec import KVArray
from connectors.niceness import go_last
from kvstore import Identity, KVStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Save:
    identity: Identity
    token_ids: Sequence[int]
    kv: KVArray
    start: int


class SaveQueue:
    """A queue bounded in bytes of KV. When it is full a save is dropped and counted, never waited for.

    Saving rests while the engine is `busy`, chunk by chunk, unless the queue is half full.
    """

    def __init__(self, store: KVStore, capacity_bytes: int) -> None:
        self._store, self._capacity_bytes = store, capacity_bytes
        self._waiting: deque[_Save] = deque()
        self._bytes = 0
        self._closed, self._busy = False, 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="kvstore-save", daemon=True)
        self._thread.start()

    def submit(self, identity: Identity, token_ids: Sequence[int], kv: KVArray, start: int) -> bool:
        """As `KVStore.save`, later. False when it was dropped. `kv`'s tensors must stay as they are meanwhile."""
        with self._changed:
            if self._closed or self._bytes + kv.num_bytes > self._capacity_bytes:
                self._store.metrics.count("saves_dropped")
                return False
            self._waiting.append(_Save(identity, token_ids, kv, start))
            self._bytes += kv.num_bytes
            self._changed.notify_all()
            return True

    def busy(self, more: int) -> None:
        """The engine has begun (1), or ended (-1), something that saving would slow down."""
        with self._changed:
            self._busy += more
            self._changed.notify_all()

    def wait_for_rest(self) -> None:
        """Until the engine is not busy; no longer when what waits to be saved fills half of the queue."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy or self._closed or 2 * self._bytes > self._capacity_bytes)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until everything submitted so far is saved; False when that took longer than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._bytes == 0, timeout_s)

    def close(self) -> None:
        """Saves what is waiting, then ends the thread. Safe to repeat."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        go_last()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                save = self._waiting.popleft()
            try:
                self._store.save(save.identity, save.token_ids, save.kv, save.start, pace=self.wait_for_rest)
            except Exception:  # whatever it is, the engine goes on and the next save is tried
                self._store.metrics.count("saves_failed")
                _log.exception("saving %d tokens failed", save.kv.num_tokens)
            with self._changed:
                self._bytes -= save.kv.num_bytes
                self._changed.notify_all()
