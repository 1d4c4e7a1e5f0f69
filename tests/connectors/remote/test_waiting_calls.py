"""Calls that wait for as long as they like hold up nobody but themselves."""

import asyncio
import threading
import time

import pytest

from connectors.remote.waiting_calls import WaitingCalls
from kvstore import TierUnavailable
from tests.connectors.remote.redis_servers import wait_until

SOON_S = 0.05


def test_an_answer_and_an_error_come_back():
    async def check():
        calls = WaitingCalls("a library", threads=2, timeout_s=10.0)
        assert await asyncio.gather(*(calls.ask(pow, number, 2) for number in range(20))) == [n * n for n in range(20)]
        with pytest.raises(ZeroDivisionError):
            await calls.ask(divmod, 1, 0)
        assert calls.is_idle
        calls.close()

    asyncio.run(check())


def test_a_call_that_hangs_is_given_up_in_time_and_holds_its_thread_until_it_returns():
    async def check():
        calls, goes_on = WaitingCalls("a library", threads=2, timeout_s=SOON_S), threading.Event()
        for _ in range(5):
            with pytest.raises(TierUnavailable, match="a library"):
                await calls.ask(goes_on.wait)
        began_s = time.monotonic()
        with pytest.raises(TierUnavailable):
            await calls.ask(pow, 2, 2)  # there is no thread for it
        assert time.monotonic() - began_s < 2.0
        assert not calls.is_idle
        goes_on.set()
        wait_until(lambda: calls.is_idle, "what was given up has returned")
        assert await calls.ask(pow, 2, 2) == 4
        calls.close()

    asyncio.run(check())


def test_what_is_cancelled_before_it_begins_is_never_called():
    async def check():
        calls, goes_on, called = WaitingCalls("a library", threads=1, timeout_s=10.0), threading.Event(), []
        hanging = asyncio.create_task(calls.ask(goes_on.wait))
        waiting = asyncio.create_task(calls.ask(called.append, 1))
        await asyncio.sleep(SOON_S)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        goes_on.set()
        assert await hanging
        assert await calls.ask(pow, 2, 2) == 4
        assert not called
        calls.close()

    asyncio.run(check())
