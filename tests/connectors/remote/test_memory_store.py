"""The naive store keeps the contract of every RemoteStore."""

from collections import defaultdict

from connectors.remote.memory_store import MemoryStore
from tests.connectors.remote.contract import RemoteStoreContract


class TestMemoryStore(RemoteStoreContract):
    def setup_method(self):
        self._servers = defaultdict(MemoryStore)

    def open(self, namespace):
        return self._servers[namespace]
