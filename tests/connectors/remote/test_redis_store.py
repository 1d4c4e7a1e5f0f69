"""RedisStore keeps the contract of every RemoteStore, against one server and against a cluster."""

import pytest

from connectors.remote.opening import open_store
from tests.connectors.remote.contract import RemoteStoreContract
from tests.connectors.remote.redis_servers import redis_cluster, redis_server


@pytest.fixture(scope="module")
def server():
    with redis_server() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


class TestOneServer(RemoteStoreContract):
    @pytest.fixture(autouse=True)
    def _served(self, server):
        self._server = server

    def open(self, namespace):
        return open_store(self._server.url(namespace), timeout_s=10.0)


class TestCluster(RemoteStoreContract):
    @pytest.fixture(autouse=True)
    def _served(self, cluster):
        self._port = cluster[0].port

    def open(self, namespace):
        return open_store(f"redis+cluster://127.0.0.1:{self._port}?namespace={namespace}", timeout_s=10.0)
