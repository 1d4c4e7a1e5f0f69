"""A link to a server on this host: as fast, as far away and as broken as it is told to be.

A proxy in a process of its own, so that it takes nothing from whoever asks through it. It carries bytes at a rate that
all connections share, each direction by itself, and holds each back for a latency.
"""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

_PIECE_BYTES = 64 << 10
_LEAST_SLEEP_S = 0.001  # the rate is right on average: shorter waits are made up for by the next


@dataclass(frozen=True)
class Condition:
    bytes_per_s: float = math.inf
    latency_s: float = 0.0
    """One way."""
    broken: bool = False
    """Connections are closed as soon as anything comes."""
    cut_after_bytes: float = math.inf
    """Of each connection's answers: it is closed then."""


PERFECT = Condition()


class Link(AbstractContextManager["Link"]):
    """Leads from `port` of this host to `to_port`."""

    def __init__(self, to_port: int, condition: Condition = PERFECT) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.shaped_link", str(to_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        self.port = int(self._hear())
        self.be(condition)

    def be(self, condition: Condition) -> None:
        """From now on, for connections that are open as well."""
        assert self._process.stdin is not None, "it was asked for"
        self._process.stdin.write(json.dumps(asdict(condition)) + "\n")
        self._process.stdin.flush()
        self._hear()

    def _hear(self) -> str:
        assert self._process.stdout is not None, "it was asked for"
        if not (line := self._process.stdout.readline()):
            raise EOFError("the link is down; it has said why")
        return line

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None, "it was asked for"
        assert self._process.stdout is not None, "it was asked for"
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


class _Direction:
    """What all connections send one way."""

    def __init__(self) -> None:
        self._free_at_s = 0.0

    async def carried(self, num_bytes: int, bytes_per_s: float) -> None:
        """Waits until the link has taken so many bytes more."""
        now_s = asyncio.get_running_loop().time()
        self._free_at_s = max(self._free_at_s, now_s) + num_bytes / bytes_per_s
        if self._free_at_s - now_s > _LEAST_SLEEP_S:
            await asyncio.sleep(self._free_at_s - now_s)


class _Proxy:
    def __init__(self, to_port: int) -> None:
        self._to_port, self.condition = to_port, PERFECT
        self._there, self._back = _Direction(), _Direction()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
            answering = asyncio.create_task(self._carry(to_reader, writer, self._back, cuts=True))
            await self._carry(reader, to_writer, self._there, cuts=False)
            await answering
        writer.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: _Direction, cuts: bool
    ) -> None:
        loop, due_s, carried = asyncio.get_running_loop(), 0.0, 0
        with suppress(OSError):
            while (piece := await reader.read(_PIECE_BYTES)) and not self.condition.broken:
                await direction.carried(len(piece), self.condition.bytes_per_s)
                left = self.condition.cut_after_bytes - carried if cuts else math.inf
                carried += len(piece)
                due_s = max(loop.time() + self.condition.latency_s, due_s + 1e-6)  # pieces stay in their order
                loop.call_at(due_s, writer.write, piece[: int(min(len(piece), left))])
                if len(piece) >= left:
                    break
                await writer.drain()
        loop.call_at(due_s + 1e-6, writer.close)


async def _main(to_port: int) -> None:
    proxy = _Proxy(to_port)
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0, limit=4 * _PIECE_BYTES)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            proxy.condition = Condition(**json.loads(line))
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
