"""StoreClient: the engine's end of the store's process. Asks without waiting, and collects what comes back."""

from __future__ import annotations

import logging
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

from codec import KVSpec
from connectors.vllm.messages import incoming, owner_to_json, receive, send
from connectors.vllm.owner import Owner
from connectors.vllm.staging import Shared

_log = logging.getLogger(__name__)
_OPEN_S, _DRAIN_S = 60.0, 30.0
Message = tuple[str, Mapping[str, Any], Sequence[int]]


@dataclass(frozen=True)
class RankMemory:
    """What a worker's KV is, and where it is staged."""

    spec: KVSpec
    shared: Shared


class StoreClient:
    """Starts the process when it is made; `open` tells it what to serve. No other call ever waits.

    It is a `plan.Store`. Messages that cannot be sent, because the process is gone, are dropped.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "connectors.vllm.store_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},  # its threads are its own, one for each chunk
                # Ctrl-C leaves it the time to save; in a session of its own Linux would give half of a core to the
                # worker that only waits there, however often that yields it
                process_group=0,
            )
        self._connection = Connection(ours.detach())
        self._outgoing: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._incoming: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self.alive = False

    def open(self, ranks: Sequence[RankMemory], overrides: Mapping[str, Any], saves: bool) -> str:
        """Waits until the store is open, and returns its codec's identity. Raises RuntimeError where it cannot be."""
        memories = [{"spec": rank.spec.to_json(), "shared": asdict(rank.shared)} for rank in ranks]
        try:
            send(self._connection, "open", ranks=memories, overrides=dict(overrides), saves=saves)
            if not self._connection.poll(_OPEN_S):
                raise RuntimeError(f"the store's process has not opened the store within {_OPEN_S:.0f} s")
            kind, fields, _ = receive(self._connection)
        except (EOFError, OSError) as error:
            raise RuntimeError(f"the store's process ended: {error!r}") from error
        if kind != "ready":
            raise RuntimeError(fields["reason"])
        self.alive = True
        self._sender = threading.Thread(target=self._send_all, name="kvstore-send", daemon=True)
        self._sender.start()
        threading.Thread(target=self._receive_all, name="kvstore-receive", daemon=True).start()
        return str(fields["codec"])

    def _send_all(self) -> None:
        while (message := self._outgoing.get()) is not None:
            kind, fields, tokens = message
            try:
                send(self._connection, kind, tokens, **fields)
            except OSError:
                self.alive = False

    def _receive_all(self) -> None:
        for kind, fields, _ in incoming(self._connection):
            self._incoming.put((kind, fields))
        self.alive = False

    def replies(self) -> list[tuple[str, dict[str, Any]]]:
        """Kind and fields of everything that came since it was asked last."""
        replies = []
        while True:
            try:
                replies.append(self._incoming.get_nowait())
            except queue.Empty:
                return replies

    def find(self, request_id: str, owner: Owner, tokens: Sequence[int]) -> None:
        self._outgoing.put(("find", {"request": request_id, "owner": owner_to_json(owner)}, list(tokens)))

    def load(self, request_id: str, start: int, num_tokens: int, slots: Sequence[int]) -> None:
        fields = {"request": request_id, "start": start, "num_tokens": num_tokens, "slots": list(slots)}
        self._outgoing.put(("load", fields, ()))

    def save(self, job: int, owner: Owner, tokens: Sequence[int], slots: Sequence[int]) -> None:
        self._outgoing.put(("save", {"job": job, "owner": owner_to_json(owner), "slots": list(slots)}, tokens))

    def forget(self, request_id: str) -> None:
        self._outgoing.put(("forget", {"request": request_id}, ()))

    def computed(self, num_tokens: int, context: int, seconds: float) -> None:
        """The engine took that long for `num_tokens` prompt tokens behind `context` others."""
        self._outgoing.put(("computed", {"num_tokens": num_tokens, "context": context, "seconds": seconds}, ()))

    def prompt_computed(self, num_tokens: int) -> None:
        """The engine computes so many tokens of prompts: for the store's counters."""
        self._outgoing.put(("prompt_computed", {"num_tokens": num_tokens}, ()))

    def close(self) -> None:
        """Waits a while until what was given to be saved is saved; after that the process goes on alone."""
        if self.alive:
            self._outgoing.put(None)
            self._sender.join(_DRAIN_S)
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as ours:
            ours.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            _log.warning("the store's process is still saving: it ends when that is done")
