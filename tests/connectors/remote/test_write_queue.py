"""Writes wait in a bounded queue: the oldest are dropped and counted, and so are those that fail."""

import asyncio
import math

from connectors.remote.endpoint import Endpoint
from connectors.remote.write_queue import Write, WriteQueue
from kvstore import Metrics
from tests.connectors.remote.fake_stores import FakeStore

VALUE = b"x" * 1000


def run(check, capacity_bytes=10_000):
    async def inside():
        store, metrics = FakeStore(), Metrics()
        queue = WriteQueue(Endpoint(store, metrics, 0.2, 1 << 20), metrics, capacity_bytes)
        await check(store, queue, lambda: metrics.snapshot()["remote_writes_dropped"])

    asyncio.run(inside())


def writes(first, last):
    return [Write(str(number), [VALUE], math.inf) for number in range(first, last)]


async def stored(store):
    return {int(each.key) async for each in store.listed()}


def test_all_is_written():
    async def check(store, queue, dropped):
        await queue.add(writes(0, 10))
        await queue.flush()
        assert await stored(store) == set(range(10))
        assert (dropped(), queue.waiting_bytes) == (0, 0)

    run(check)


def test_the_oldest_are_dropped_and_counted():
    async def check(store, queue, dropped):
        store.put_s = 0.05
        for number in range(30):
            await queue.add(writes(number, number + 1))
            assert queue.waiting_bytes <= 10_000
        await queue.flush()
        kept = await stored(store)
        assert {*range(20, 30)} <= kept
        assert len(kept) + dropped() == 30

    run(check)


def test_what_fails_is_dropped_and_counted_and_what_waits_is_kept_until_it_works():
    async def check(store, queue, dropped):
        store.refuses = True
        await queue.add(writes(0, 10))
        await asyncio.sleep(0.3)
        failed = dropped()
        assert 3 <= failed <= 6  # a breaker holds the others back
        store.refuses = False
        await asyncio.wait_for(queue.flush(), 20)
        assert len(await stored(store)) == 10 - failed

    run(check)


def test_what_is_forgotten_is_not_written():
    async def check(store, queue, dropped):
        store.put_s = 0.02
        await queue.add(writes(0, 10))
        await queue.forget([str(number) for number in range(10)])
        await queue.flush()
        assert await stored(store) == set()
        assert (dropped(), queue.waiting_bytes) == (0, 0)

    run(check)


def test_a_write_again_takes_the_place_of_the_one_that_waits():
    async def check(store, queue, dropped):
        await queue.add([*writes(0, 3), Write("1", [b"another"], math.inf)])
        await queue.flush()
        assert await store.peek(["1"], 100) == [b"another"]
        assert (dropped(), store.puts) == (0, 3)

    run(check)


def test_a_write_that_hangs_does_not_keep_others_for_ever():
    async def check(store, queue, dropped):
        store.put_s = 60.0
        await queue.add(writes(0, 2))
        await asyncio.sleep(0.1)
        store.put_s = 0.0
        await queue.add(writes(2, 6))
        await asyncio.wait_for(queue.flush(), 20)
        assert await stored(store) == {2, 3, 4, 5}
        assert dropped() == 2

    run(check)
