"""RemoteTier keeps the contract of places that others share over a Mooncake Store."""

import pytest

from kvstore.testing import HoldingContract
from tests.connectors.remote.test_remote_tier import flushing


class TestOverMooncake(HoldingContract):
    @pytest.fixture(autouse=True)
    def _served(self, mooncake_store):
        self._server = mooncake_store

    def roomy(self, tmp_path):
        return flushing(self._server.url(f"tier/{tmp_path.name}"))
