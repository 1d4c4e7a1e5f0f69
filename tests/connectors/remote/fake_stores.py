"""Stores of this process that take their time, refuse, or lie."""

import asyncio

from connectors.remote.memory_store import MemoryStore
from kvstore import TierUnavailable


class FakeStore(MemoryStore):
    def __init__(self):
        super().__init__()
        self.get_s = self.put_s = 0.0
        self.refuses = False
        self.gets = self.puts = 0
        self.health_asked = 0

    def _refuse(self):
        if self.refuses:
            raise TierUnavailable("a test refuses")

    async def sizes(self, keys):
        self._refuse()
        return await super().sizes(keys)

    async def get_into(self, key, buffer):
        self.gets += 1
        self._refuse()
        await asyncio.sleep(self.get_s)
        return await super().get_into(key, buffer)

    async def put(self, key, parts, ttl_s=None):
        self.puts += 1
        self._refuse()
        await asyncio.sleep(self.put_s)
        return await super().put(key, parts, ttl_s)

    async def health(self):
        self.health_asked += 1
        self._refuse()
        return await super().health()
