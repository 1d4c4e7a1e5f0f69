"""A sidecar over memory and disk, for this host alone; and one with tokens, for two tenants and an admin."""

from types import SimpleNamespace

import pytest

from connectors.sidecar.callers import Tokens
from kvstore import DiskTier, MemoryTier, Metrics, Tiers
from tests.connectors.sidecar.asking import Asking
from tests.connectors.sidecar.serving import serving

CAPACITY_BYTES = 64 << 20
ADMIN, OURS, THEIRS = "the admin's own token", "a token of tenant ours", "a token of tenant theirs"


@pytest.fixture
def tiers(tmp_path):
    metrics = Metrics()
    with Tiers([MemoryTier(CAPACITY_BYTES), DiskTier(tmp_path / "store", CAPACITY_BYTES)], metrics) as tiers:
        yield tiers


@pytest.fixture
def served(tiers):
    with serving(tiers) as served:
        yield served


@pytest.fixture
def ask(served):
    return Asking(served)


@pytest.fixture
def parties(tiers):
    """What `admin`, `ours`, `theirs` and `nobody` ask with, each with a token of its own or none."""
    tokens = Tokens(ADMIN, {"ours": OURS, "theirs": THEIRS})
    with serving(tiers, tokens=tokens) as served:
        named = {"admin": ADMIN, "ours": OURS, "theirs": THEIRS, "nobody": None}
        yield SimpleNamespace(
            served=served,
            **{name: Asking(served, token) for name, token in named.items()},
            on_this_host={name: Asking(served, token, over_socket=True) for name, token in named.items()},
        )
