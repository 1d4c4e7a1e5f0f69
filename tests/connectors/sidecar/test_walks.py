"""Walks: one at a time, and what was found lately is told again."""

import asyncio
import threading

from connectors.sidecar.walks import Walks


class Work:
    """Counts how often it was done, and how many did it at once."""

    def __init__(self, took_s=0.0):
        self.times, self.at_once, self.now_s, self._took_s = 0, 0, 0.0, took_s
        self._alone = threading.Lock()

    def __call__(self):
        assert self._alone.acquire(blocking=False), "another walk is under way"
        self.times += 1
        self.now_s += self._took_s
        self._alone.release()
        return self.times


def test_one_walks_at_a_time():
    work = Work()

    async def several():
        walks = Walks()
        return await asyncio.gather(*(walks.now(work) for _ in range(20)))

    assert sorted(asyncio.run(several())) == list(range(1, 21))


def test_what_was_found_lately_is_told_again_for_ten_times_as_long_as_it_took():
    work = Work(took_s=2.0)

    async def later():
        walks = Walks(clock=lambda: work.now_s)
        told = await asyncio.gather(*(walks.lately("prefixes", work) for _ in range(5)))
        other = await walks.lately("something else", work)
        work.now_s = 21.9
        again = await walks.lately("prefixes", work)
        work.now_s = 22.0
        return told, other, again, await walks.lately("prefixes", work)

    told, other, again, anew = asyncio.run(later())
    assert (set(told), other, again, anew) == ({1}, 2, 1, 3)


def test_work_that_fails_is_done_again():
    async def failing():
        walks = Walks()
        for _ in range(2):
            try:
                await walks.lately("prefixes", _raise)
            except LookupError:
                continue
        return await walks.lately("prefixes", lambda: "found")

    assert asyncio.run(failing()) == "found"


def _raise():
    raise LookupError
