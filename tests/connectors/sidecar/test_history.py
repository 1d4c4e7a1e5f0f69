"""The status and its history: for the admin, of every tier and counter, and without looking at what is held."""

import time

import pytest

from connectors.sidecar.history import History
from connectors.sidecar.service import Service
from connectors.sidecar.status_routes import history_body
from kvstore import DiskTier, MemoryTier, Metrics, Tiers, TierUnavailable
from kvstore.testing import FRAME_BYTES, frame, key
from tests.connectors.sidecar.prompts import ACME, ADMIN, CAPACITY_BYTES, TOKENS, ask, fill
from tests.connectors.sidecar.serving import any_bytes, serving


class Unwalkable(DiskTier):
    """Has no list of its entries; away when it is told to be."""

    away = False

    def entries(self):
        raise AssertionError("the status walks over nothing")

    @property
    def size_bytes(self):
        if self.away:
            raise TierUnavailable("for a test")
        return super().size_bytes


@pytest.fixture
def disk(tmp_path):
    fill(tmp_path / "store")
    return Unwalkable(tmp_path / "store", CAPACITY_BYTES)


@pytest.fixture
def tiers(disk):
    with Tiers([MemoryTier(4 * FRAME_BYTES), disk]) as tiers:
        yield tiers


def test_the_status_says_how_full_the_tiers_are(tiers, disk):
    with serving(tiers, Metrics(), TOKENS) as served:
        status = ask(served, "/v1/status", token=ADMIN).json
        memory, on_disk = status["tiers"]
        assert (memory["name"], memory["size_bytes"], memory["durable"]) == ("memory", 0, False)
        assert (on_disk["size_bytes"], on_disk["capacity_bytes"]) == (disk.size_bytes, CAPACITY_BYTES)
        assert (on_disk["durable"], on_disk["available"], status["path"]) == (True, True, str(disk.path))
        assert (status["leases"], status["waiting_bytes"], status["history"]) == (0, 0, None)
        assert status["counters"]["frames_given"] == 0
        assert 0 <= status["uptime_s"] < 60
        disk.away = True
        assert ask(served, "/v1/status", token=ADMIN).json["tiers"][1]["available"] is False


def test_the_status_is_for_the_admin(tiers):
    with serving(tiers, Metrics(), TOKENS) as served:
        assert ask(served, "/v1/status", token=ACME).code == "forbidden"
        assert ask(served, "/v1/status").code == "unauthorized"


def test_history_is_what_was_at_every_sample(tiers, disk):
    metrics = Metrics()
    with serving(tiers, metrics, TOKENS, check=any_bytes) as served:
        history = served.context.history
        history.sample()
        tiers.put([(key("a"), frame(key("a")))])
        metrics.count("frames_given", 3)
        disk.away = True
        history.sample()
        told = ask(served, "/v1/status", token=ADMIN, history=True).json["history"]
    assert len(told["at_s"]) == 2
    assert told["tiers"]["memory"] == [0, FRAME_BYTES]
    assert told["tiers"]["disk"][1] is None
    assert told["counters"]["frames_given"] == [0, 3]
    assert "chunks_corrupt" not in told["counters"]
    assert told["waiting_bytes"] == [0, 0]


def test_the_oldest_samples_go():
    seconds = iter(range(10_000))
    with Tiers([MemoryTier(FRAME_BYTES)]) as tiers:
        service = Service(tiers, Metrics())
        history = History(service, clock=lambda: float(next(seconds)))
        for _ in range(1000):
            history.sample()
        service.close()
    told = history_body(history.samples())
    assert (len(told.at_s), told.at_s[0], told.at_s[-1]) == (720, 280.0, 999.0)
    assert {len(sizes) for sizes in told.tiers.values()} == {720}


def test_samples_are_taken_until_told_to_stop():
    with Tiers([MemoryTier(FRAME_BYTES)]) as tiers:
        service = Service(tiers, Metrics())
        history = History(service)
        with history.kept(every_s=0.01):
            ends_s = time.monotonic() + 20
            while len(history.samples()) < 3 and time.monotonic() < ends_s:
                time.sleep(0.005)
        taken = len(history.samples())
        assert taken >= 3
        time.sleep(0.05)
        assert len(history.samples()) == taken
        service.close()
