"""S3Store keeps the contract of every RemoteStore, against SeaweedFS."""

import pytest

from connectors.remote.opening import open_store
from tests.connectors.remote.contract import RemoteStoreContract


class TestS3Store(RemoteStoreContract):
    @pytest.fixture(autouse=True)
    def _served(self, s3):
        self._server = s3

    def open(self, namespace):
        return open_store(self._server.url(prefix=namespace), timeout_s=10.0)
