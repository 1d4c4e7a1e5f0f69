"""MooncakeStore keeps the contract of every RemoteStore, against a true one over TCP."""

import pytest

from connectors.remote.opening import open_store
from tests.connectors.remote.contract import RemoteStoreContract


class TestMooncakeStore(RemoteStoreContract):
    @pytest.fixture(autouse=True)
    def _served(self, mooncake_store):
        self._server = mooncake_store

    def open(self, namespace):
        return open_store(self._server.url(namespace), timeout_s=10.0)
