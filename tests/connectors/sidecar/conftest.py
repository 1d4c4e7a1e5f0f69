"""A sidecar over memory and disk, for this host alone; and one with tokens, for two tenants and an admin."""

from types import SimpleNamespace

import pytest

from connectors.sidecar.callers import Tokens
from kvstore import DiskTier, MemoryTier, Metrics, Tiers
from tests.connectors.sidecar.asking import PATIENCE_S, Asking
from tests.connectors.sidecar.serving import serving

CAPACITY_BYTES = 64 << 20
ADMIN, OURS, THEIRS = "the admin's own token", "a token of tenant ours", "a token of tenant theirs"


@pytest.fixture(scope="module")
def lasting_tiers(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "store"
    with Tiers([MemoryTier(CAPACITY_BYTES), DiskTier(path, CAPACITY_BYTES)], Metrics()) as tiers:
        yield tiers


@pytest.fixture
def tiers(lasting_tiers):
    """Memory and disk, which hold nothing."""
    yield lasting_tiers
    lasting_tiers.delete_all([entry.key for entry in lasting_tiers.entries()])


@pytest.fixture(scope="module")
def for_this_host(lasting_tiers):
    with serving(lasting_tiers) as served:
        yield served


@pytest.fixture(scope="module")
def for_parties(lasting_tiers):
    with serving(lasting_tiers, tokens=Tokens(ADMIN, {"ours": OURS, "theirs": THEIRS})) as served:
        yield served


def settled(served):
    """Gives it, and leaves nothing under way: starting one takes longer than most tests."""
    yield served
    service = served.context.service
    assert service.behind.flush(PATIENCE_S)
    for lease in list(service.leases._leases.values()):
        service.leases.release(lease.id, lease.holder)


@pytest.fixture
def served(for_this_host, tiers):
    yield from settled(for_this_host)


@pytest.fixture
def ask(served):
    return Asking(served)


@pytest.fixture
def parties(for_parties, tiers):
    """What `admin`, `ours`, `theirs` and `nobody` ask with, each with a token of its own or none."""
    named = {"admin": ADMIN, "ours": OURS, "theirs": THEIRS, "nobody": None}
    for served in settled(for_parties):
        yield SimpleNamespace(
            served=served,
            **{name: Asking(served, token) for name, token in named.items()},
            on_this_host={name: Asking(served, token, over_socket=True) for name, token in named.items()},
        )
