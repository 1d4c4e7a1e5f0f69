"""`kvstore tiers`: how every place does that frames are kept in, with a service and without one."""

import os
from pathlib import Path

import pytest

from codec import codec_from
from connectors.remote.opening import open_remote
from kvstore import DiskTier, KVStore, MemoryTier
from kvstore.testing import frames, prompt
from tests.connectors.cli.conftest import CHUNK_TOKENS, SPECS, Run, json_of
from tests.connectors.remote.redis_servers import free_ports, redis_server
from tests.connectors.sidecar.serving import serving
from tests.kv import kv_of_numbers

PASSWORD = "secret-of-tests"


@pytest.fixture(scope="module")
def server():
    with redis_server("--requirepass", PASSWORD, "--maxmemory", "64mb", password=PASSWORD) as running:
        yield running


@pytest.fixture
def url(server) -> str:
    server.client.flushall()
    return f"redis://:{PASSWORD}@127.0.0.1:{server.port}"


@pytest.fixture(autouse=True)
def own_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens."""
    monkeypatch.setenv("KVSTORE_SIDECAR_SOCKET", str(tmp_path / "sidecar.sock"))


@pytest.fixture
def settings(store: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Of memory, disk and a remote store."""
    for name, value in {
        "STORE_PATH": store,
        "MEMORY_CAPACITY_BYTES": "1GiB",
        "DISK_CAPACITY_BYTES": "2GiB",
        "REMOTE_URL": url,
    }.items():
        monkeypatch.setenv(f"KVSTORE_{name}", str(value))
    return monkeypatch


def by_name(result) -> dict[str, dict]:
    return {tier["name"]: tier for tier in json_of(result)["tiers"]}


def test_without_a_service_directories_and_servers_are_looked_at(run: Run, settings, url: str):
    with open_remote(url, deadline_s=20.0) as tier:
        tier.put(frames(prompt("a", 3)))
        tier.flush(20.0)
    result = run("tiers", "--json")
    found = by_name(result)
    assert (result.exit_code, list(found), json_of(result)["from"]) == (0, ["memory", "disk", "remote"], None)
    assert (found["memory"]["capacity_bytes"], found["memory"]["chunks"]) == (1 << 30, None)
    assert (found["disk"]["chunks"], found["disk"]["capacity_bytes"]) == (6, 2 << 30)
    assert found["disk"]["size_bytes"] > 0
    assert (found["remote"]["chunks"], found["remote"]["capacity_bytes"]) == (3, 64 << 20)
    assert found["remote"]["size_bytes"] > 0
    assert all(tier["available"] and tier["hit_rate"] is None for tier in found.values())
    text = run("tiers").stdout
    assert "No service runs here" in text
    assert f"redis://127.0.0.1:{os.environ['KVSTORE_REMOTE_URL'].rpartition(':')[2]}" in text
    assert PASSWORD not in text + result.output


def test_a_store_that_is_not_there_yet_holds_nothing(run: Run, settings, tmp_path: Path):
    settings.setenv("KVSTORE_STORE_PATH", str(tmp_path / "nothing"))
    assert by_name(run("tiers", "--json"))["disk"]["size_bytes"] == 0
    assert not (tmp_path / "nothing").exists()


def test_a_directory_that_is_no_store_is_down(run: Run, settings, tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("of somebody")
    settings.setenv("KVSTORE_STORE_PATH", str(tmp_path / "other"))
    result = run("tiers")
    assert result.exit_code == 1
    assert "disk is down" in result.stdout


def test_a_server_that_is_down_is_named_and_so_is_its_replica_that_is_up(run: Run, settings, url: str):
    [port] = free_ports(1)
    settings.setenv("KVSTORE_REMOTE_URL", f"redis://:{PASSWORD}@127.0.0.1:{port}")
    settings.setenv("KVSTORE_REMOTE_REPLICA", url)
    result = run("tiers", "--json")
    found = by_name(result)
    assert (result.exit_code, list(found)) == (1, ["memory", "disk", "remote", "replica"])
    assert [found[name]["available"] for name in ("remote", "replica")] == [False, True]
    text = run("tiers").output
    assert f"remote is down, and prompts are served without it: redis://127.0.0.1:{port}" in text
    assert PASSWORD not in text + result.output


def test_a_hung_server_is_not_waited_for(run: Run, settings, server):
    server.hang()
    try:
        result = run("tiers", "--json")
    finally:
        server.go_on()
    assert (result.exit_code, by_name(result)["remote"]["available"]) == (1, False)
    assert "did not answer within" in by_name(result)["remote"]["problem"]


@pytest.fixture
def served(settings, tmp_path: Path, url: str):
    """A service of memory, disk and the remote store, which was asked for a prompt and gave it."""
    tiers = [MemoryTier(1 << 20), DiskTier(tmp_path / "served", 1 << 20), open_remote(url, deadline_s=20.0)]
    with KVStore(tiers, codec_from("lossless"), CHUNK_TOKENS) as store, serving(store.tier, store.metrics) as served:
        identity = store.identity(SPECS["lossless"])
        store.save(identity, range(64), kv_of_numbers(SPECS["lossless"], 64))
        tiers[2].flush(20.0)
        for key in store.match(identity, range(64)).keys:
            for tier in tiers[:2]:
                tier.delete(key)
        for _ in range(8):  # from the remote one, and then from memory
            store.load(store.match(identity, range(64)))
        yield served


def test_a_service_is_asked_and_knows_hits_and_latencies(run: Run, served):
    result = run("tiers", "--url", served.url, "--json")
    found = by_name(result)
    assert (result.exit_code, json_of(result)["from"]) == (0, served.url)
    assert list(found) == ["memory", "sidecar", "sidecar: memory", "sidecar: disk", "sidecar: remote"]
    remote, memory = found["sidecar: remote"], found["sidecar: memory"]
    assert (remote["chunks_held"], remote["hit_rate"]) == (4, 0.5)  # nothing was held when it was saved
    assert memory["hit_rate"] > 0.5
    assert 0 < memory["median_s"] <= memory["p99_s"] < 1
    assert (memory["chunks"], found["sidecar: disk"]["chunks"]) == (4, 4)
    text = run("tiers", "--url", served.url).stdout
    for part in (f"As {served.url} says.", "closed", "50.0%", " ms"):
        assert part in text
    assert PASSWORD not in text + result.output


def test_the_service_of_these_settings_is_found_by_its_socket(run: Run, settings, served):
    settings.setenv("KVSTORE_SIDECAR_SOCKET", str(served.socket))
    result = run("tiers", "--json")
    assert json_of(result)["from"] == f"unix:{served.socket}"
    assert list(by_name(result)) == ["memory", "disk", "remote"]


def test_a_service_that_is_down_is_said_to_be(run: Run, settings):
    [port] = free_ports(1)
    result = run("tiers", "--url", f"http://127.0.0.1:{port}", "--json")
    assert (result.exit_code, list(by_name(result))) == (1, ["memory", "sidecar"])
    assert "cannot be asked" in by_name(result)["sidecar"]["problem"]


def test_an_open_breaker_shows(run: Run, settings, served, server):
    remote = served.context.service.tiers.tiers[2]
    ticket = remote._first.writing.admit()
    remote._first.writing.trip(ticket)
    found = by_name(run("tiers", "--url", served.url, "--json"))
    assert found["sidecar: remote"]["writes_held_off"]
    assert "open for writes" in run("tiers", "--url", served.url).stdout
