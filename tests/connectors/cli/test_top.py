"""`kvstore top`: what was saved, loaded and dropped between two looks."""

import json
from pathlib import Path

from connectors.cli.activity import Activity, Watcher
from kvstore import DiskTier
from tests.connectors.cli.conftest import FORKED, SPECS, Run, keys_of, kvstore_of
from tests.kv import kv_of_numbers


def test_a_look_tells_what_happened_since_the_one_before(forked: Path):
    watcher = Watcher(forked, num_hottest=2)
    first = watcher.look()
    assert (first.chunks, first.activity, first.hottest) == (8, [], [])
    with kvstore_of(forked, 1_800_000_000) as kvstore:
        acme, nobody = (kvstore.identity(SPECS["lossless"], tenant) for tenant in ("acme", ""))
        kvstore.load(kvstore.match(acme, FORKED["a"]))
        kvstore.load(kvstore.match(acme, FORKED["a"]))
        kvstore.save(nobody, range(500, 532), kv_of_numbers(SPECS["lossless"], 32))
    second = watcher.look()
    acme_activity, nobody_activity = second.activity
    assert acme_activity == Activity("acme/small", "acme", saved=0, saved_bytes=0, loaded=8)
    assert (nobody_activity.tenant, nobody_activity.saved, nobody_activity.loaded) == ("", 2, 0)
    assert second.chunks == 10
    assert nobody_activity.saved_bytes == second.size_bytes - first.size_bytes
    (hot,) = second.hottest
    assert (hot.key, hot.model, hot.hits, hot.chunks) == (keys_of("a")[0], "acme/small", 2, 6)
    with DiskTier(forked, 1 << 20) as disk:
        disk.delete(keys_of("a")[3])
    third = watcher.look()
    assert (third.evicted, third.activity) == (1, [])


def test_once_prints_a_frame(run: Run, forked: Path):
    with kvstore_of(forked, 1_800_000_000) as kvstore:
        kvstore.load(kvstore.match(kvstore.identity(SPECS["lossless"], "acme"), FORKED["a"]))
    result = run("top", "--once", "--interval", "0.1", "--store", forked)
    assert result.exit_code == 0
    assert "8 chunks" in result.stdout
    assert "hottest prompt" in result.stdout


def test_json_is_one_line(run: Run, forked: Path, monkeypatch):
    monkeypatch.setenv("KVSTORE_STORE_PATH", str(forked))
    monkeypatch.setenv("KVSTORE_DISK_CAPACITY_BYTES", "1GiB")
    (line,) = run("top", "--once", "--interval", "0.1", "--json").stdout.splitlines()
    shown = json.loads(line)
    assert (shown["chunks"], shown["budget_bytes"], shown["activity"]) == (8, 1 << 30, [])


def test_where_there_is_no_store_it_says_so(run: Run, tmp_path: Path):
    result = run("top", "--once", "--store", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "there is no store" in result.stderr
