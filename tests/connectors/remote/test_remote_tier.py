"""RemoteTier keeps the contract of places that others share, over the naive store and over a true server."""

import pytest

from connectors.remote.memory_store import MemoryStore
from connectors.remote.opening import open_remote
from connectors.remote.remote_tier import RemoteTier
from kvstore.testing import HoldingContract
from tests.connectors.remote.redis_servers import redis_server


class Flushing(RemoteTier):
    """Waits until what it put is there."""

    def put(self, *arguments, **named):
        stored = super().put(*arguments, **named)
        self.flush(20.0)
        return stored


class TestOverTheNaiveStore(HoldingContract):
    def roomy(self, tmp_path):
        return Flushing(MemoryStore(), deadline_s=20.0)


@pytest.fixture(scope="module")
def server():
    with redis_server() as running:
        yield running


class TestOverRedis(HoldingContract):
    @pytest.fixture(autouse=True)
    def _served(self, server):
        self._server = server

    def roomy(self, tmp_path):
        self._server.client.flushall()
        tier = open_remote(self._server.url(), deadline_s=20.0)
        tier.__class__ = Flushing
        return tier
