"""Servers that many tests ask."""

import pytest

from tests.connectors.remote.mooncake_servers import mooncake
from tests.connectors.remote.s3_server import s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def mooncake_store(tmp_path_factory):
    with mooncake(tmp_path_factory.mktemp("mooncake")) as servers:
        yield servers
