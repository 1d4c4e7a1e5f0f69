"""A replica is read from when the first store fails or dawdles, which costs one read in twenty at most."""

import asyncio

import pytest

from connectors.remote.endpoint import Endpoint
from connectors.remote.replicated import Replicated
from kvstore import Metrics, TierUnavailable
from tests.connectors.remote.fake_stores import FakeStore

VALUE = b"x" * 1000


class Pair:
    """A store and its replica, both with the value."""

    def __init__(self):
        self.metrics = Metrics()
        self.first, self.second = FakeStore(), FakeStore()
        endpoints = [Endpoint(each, self.metrics, 1.0, 1 << 20) for each in (self.first, self.second)]
        self.stores = Replicated(*endpoints, self.metrics)

    async def fill(self):
        for store in (self.first, self.second):
            await store.put("a", [VALUE])

    async def get(self):
        return await self.stores.get("a", 1000, 1.0)


def run(check):
    async def inside():
        pair = Pair()
        await pair.fill()
        await check(pair)

    asyncio.run(inside())


def test_a_first_that_answers_is_the_only_one_asked():
    async def check(pair):
        for _ in range(100):
            assert bytes(await pair.get()) == VALUE
        assert pair.second.gets == 0

    run(check)


def test_a_first_that_fails_is_replaced():
    async def check(pair):
        pair.first.refuses = True
        for _ in range(10):
            assert bytes(await pair.get()) == VALUE
            assert await pair.stores.ask(lambda store: store.sizes(["a"]), 1.0) == [1000]
        assert pair.first.gets <= 3

    run(check)


def test_one_that_dawdles_is_overtaken_now_and_then():
    async def check(pair):
        for _ in range(100):
            await pair.get()
        pair.first.get_s = 0.3
        started_s = asyncio.get_running_loop().time()
        assert bytes(await pair.get()) == VALUE
        assert asyncio.get_running_loop().time() - started_s < 0.3
        assert pair.metrics.snapshot()["remote_hedged"] == 1

    run(check)


def test_no_more_than_one_in_twenty_is_asked_twice():
    async def check(pair):
        for _ in range(40):
            await pair.get()
        pair.first.get_s = 0.004
        for _ in range(200):
            pair.first.get_s *= 1.05 if pair.first.get_s < 0.02 else 1.0
            assert bytes(await pair.get()) == VALUE
        assert pair.second.gets <= 0.05 * 240

    run(check)


def test_what_a_replica_does_not_have_yet_is_waited_for():
    async def check(pair):
        for _ in range(100):
            await pair.get()
        await pair.second.delete(["a"])
        pair.first.get_s = 0.1
        assert bytes(await pair.get()) == VALUE

    run(check)


def test_both_failing_is_a_failure_and_no_miss():
    async def check(pair):
        pair.first.refuses = pair.second.refuses = True
        with pytest.raises(TierUnavailable):
            await pair.get()

    run(check)
