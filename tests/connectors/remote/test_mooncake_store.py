"""MooncakeStore keeps the contract of every RemoteStore, against a true one over TCP."""

import pytest

from connectors.remote.opening import open_store
from tests.connectors.remote.contract import RemoteStoreContract
from tests.connectors.remote.mooncake_servers import mooncake


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mooncake(tmp_path_factory.mktemp("mooncake")) as running:
        yield running


class TestMooncakeStore(RemoteStoreContract):
    @pytest.fixture(autouse=True)
    def _served(self, server):
        self._server = server

    def open(self, namespace):
        return open_store(self._server.url(namespace), timeout_s=10.0)
