"""Throttle: a TCP proxy in front of a true server, which is slow, silent or broken as a test says."""

import asyncio
import threading
from contextlib import contextmanager, suppress

_AT_ONCE = 16 << 10


class Throttle:
    """What it does may be changed while connections are open."""

    def __init__(self, to_port):
        self.to_port = to_port
        self.port = 0
        self.answer_after_s = 0.0
        """Each piece of an answer is held back for so long."""
        self.bytes_per_s = float("inf")
        """Of each connection's answers."""
        self.broken = False
        """Connections are closed as soon as anything comes."""
        self.cut_after_bytes = float("inf")
        """Of each connection's answers: it is closed then."""

    async def serve(self, ready, ended):
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await asyncio.to_thread(ended.wait)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connected(self, reader, writer):
        try:
            if self.broken:
                return
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
            try:
                answering = asyncio.create_task(self._answer(to_reader, writer))
                while asked := await reader.read(_AT_ONCE):
                    if self.broken:
                        break
                    to_writer.write(asked)
                    await to_writer.drain()
                answering.cancel()
            finally:
                to_writer.close()
        except OSError:
            pass
        finally:
            writer.close()

    async def _answer(self, reader, writer):
        sent = 0
        with suppress(OSError):
            while (piece := await reader.read(_AT_ONCE)) and not self.broken:
                await asyncio.sleep(self.answer_after_s + len(piece) / self.bytes_per_s)
                writer.write(piece[: int(min(len(piece), self.cut_after_bytes - sent))])
                sent += len(piece)
                await writer.drain()
                if sent >= self.cut_after_bytes:
                    break
        writer.close()


@contextmanager
def throttled(to_port):
    proxy, ready, ended = Throttle(to_port), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve(ready, ended)), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        ended.set()
        thread.join(10)
