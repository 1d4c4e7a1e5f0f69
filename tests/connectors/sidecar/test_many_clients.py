"""A thousand clients at once are answered, in bounded memory."""

import asyncio
import gc
import resource
from contextlib import ExitStack
from pathlib import Path

import pytest
import xxhash

from kvstore.testing import key
from tests.connectors.sidecar.asking import Asking, assert_serves, connected
from tests.connectors.sidecar.sound import sound

THIS = key("a")


@pytest.fixture
def held(ask):
    """A frame of the key THIS."""
    frame = sound(THIS)
    assert ask.put(THIS, frame).status == 201
    return frame


def test_a_thousand_clients_at_once_are_all_answered(served, held):
    """Each puts a frame of its own and gets it, and one that is everybody's, on one connection."""
    frames = [sound(key(f"client {number}"), 20_000) for number in range(1000)]
    before_bytes = resident_bytes()

    async def client(number, all_there):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
        all_there.append(number)
        while len(all_there) < 1000:
            await asyncio.sleep(0.01)
        own, frame = key(f"client {number}"), frames[number]
        head = f"Host: localhost\r\nKvstore-Xxh3: {xxhash.xxh3_128_hexdigest(frame)}\r\nContent-Length: {len(frame)}"
        writer.write(f"PUT /v1/frames/{own} HTTP/1.1\r\n{head}\r\n\r\n".encode() + frame)
        assert (await _answer(reader))[0] == 201
        for this, expected in ((own, frame), (THIS, held)):
            writer.write(f"GET /v1/frames/{this} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert await _answer(reader) == (200, expected)
        writer.close()

    async def everybody():
        all_there = []
        async with asyncio.timeout(120), asyncio.TaskGroup() as clients:
            for number in range(1000):
                clients.create_task(client(number, all_there))

    asyncio.run(everybody())
    gc.collect()
    assert resident_bytes() - before_bytes < 400 << 20
    assert_serves(served)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def _answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head.split()[1]), await reader.readexactly(int(length.split(b":")[1]))


def test_a_thousand_idle_connections_do_not_keep_others_out(served, held):
    with ExitStack() as idle:
        for _ in range(1000):
            idle.enter_context(connected(served)).sendall(b"GET /v1/fra")
        assert Asking(served).get(THIS).body == held


def test_as_many_files_may_be_open_as_the_system_allows(served):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard
