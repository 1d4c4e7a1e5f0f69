"""The commands on a store on other machines, by its URL: a true Redis server, filled by what they import."""

import json
from pathlib import Path

import pytest

from codec import codec_from
from connectors.remote.opening import open_remote
from kvstore import DiskReader, KVStore
from tests.connectors.cli.conftest import CHUNK_TOKENS, FORKED, SPECS, Run, json_of, keys_of
from tests.connectors.remote.redis_servers import free_ports, redis_server

PASSWORD = "secret-of-tests"


@pytest.fixture(scope="module")
def server():
    with redis_server("--requirepass", PASSWORD, password=PASSWORD) as running:
        yield running


@pytest.fixture
def url(server) -> str:
    """Of an empty server."""
    server.client.flushall()
    return f"redis://:{PASSWORD}@127.0.0.1:{server.port}"


@pytest.fixture
def filled(run: Run, url: str, forked: Path, tmp_path: Path) -> str:
    """With the chunks of FORKED."""
    archive = tmp_path / "forked.kv.zip"
    assert run("export", archive, "--store", forked).exit_code == 0
    result = run("import", archive, "--store", url)
    assert (result.exit_code, PASSWORD in result.output) == (0, False), result.output
    assert "8 chunks of " in result.stdout
    return url


def name_of(key) -> str:
    return f"kvstore:frames/{key}"


def test_what_is_imported_is_listed_as_in_a_directory(run: Run, filled: str, forked: Path):
    there, here = (
        {chunk["key"]: chunk for chunk in json_of(run("ls", "--store", of, "--json"))} for of in (filled, forked)
    )
    assert there.keys() == here.keys()
    for key, chunk in there.items():
        for field in ("model", "start", "end", "codec", "size_bytes", "tenant", "damaged"):
            assert chunk[field] == here[key][field]
    assert json_of(run("ls", "--store", filled, "--tenant", "", "--limit", 1, "--json"))[0]["tenant"] == ""
    assert "acme/small" in run("ls", "--store", filled).stdout


def test_an_engine_loads_what_was_imported(filled: str):
    with KVStore([open_remote(filled, deadline_s=20.0)], codec_from("lossless"), CHUNK_TOKENS) as store:
        identity = store.identity(SPECS["lossless"], tenant="acme")
        assert store.load(store.match(identity, FORKED["a"])).num_tokens == 64


def test_what_is_held_already_is_not_imported_again(run: Run, filled: str, tmp_path: Path):
    again = json_of(run("import", tmp_path / "forked.kv.zip", "--store", filled, "--json"))
    assert (again["imported"], again["held"]) == ([], 8)


def test_what_is_exported_from_there_is_whole(run: Run, filled: str, tmp_path: Path):
    out = tmp_path / "back.kv.zip"
    assert run("export", out, "--tenant", "acme", "--store", filled).exit_code == 0
    assert len(json_of(run("import", out, "--store", tmp_path / "back", "--json"))["imported"]) == 6
    assert run("verify", "--store", tmp_path / "back").exit_code == 0


def test_one_chunk_is_shown_with_its_place_there(run: Run, filled: str):
    first = keys_of("a")[0]
    shown = json_of(run("show", str(first), "--store", filled, "--json"))
    assert shown["problem"] is None
    assert shown["lies_in"].endswith(f"frames/{first}")
    text = run("show", str(first)[:12], "--store", filled).stdout
    assert "whole: every checksum is right" in text
    assert "remote redis://127.0.0.1" in text
    assert PASSWORD not in json.dumps(shown) + text


def test_what_it_takes_is_added_up(run: Run, filled: str, forked: Path):
    there, here = (json_of(run("du", "--store", of, "--json")) for of in (filled, forked))
    assert there["usage"] == here["usage"]
    assert (there["file_bytes"], there["budget_bytes"]) == (None, None)
    assert "in files of" not in run("du", "--store", filled).stdout


def test_a_miss_is_explained(run: Run, filled: str):
    a, b = keys_of("a"), keys_of("b")
    assert "They part in tokens [32, 48)" in run("why-miss", str(a[3]), str(b[3]), "--store", filled).stdout


@pytest.fixture
def damaged(server, filled: str) -> tuple[str, dict[str, str]]:
    """The store with a torn value, a foreign one and one under another's name; by key, what each is."""
    torn, foreign, wrong = keys_of("a")[3], keys_of("b")[3], keys_of("other")[1]
    server.client.setrange(name_of(torn), 600, b"damage")
    server.client.set(name_of(foreign), b"what somebody else put there")
    server.client.set(name_of(wrong), server.client.get(name_of(keys_of("other")[0])))
    return filled, {str(torn): "torn", str(foreign): "foreign", str(wrong): "wrong"}


def test_values_that_are_whole_are_verified(run: Run, filled: str):
    verdict = json_of(run("verify", "--store", filled, "--json"))
    assert (verdict["whole"], verdict["damaged"], verdict["unreachable"]) == (8, [], 0)


def test_every_value_is_read_and_what_is_wrong_is_said_counted_and_left(run: Run, server, damaged):
    url, kinds = damaged
    before = server.client.dbsize()
    result = run("verify", "--store", url, "--json")
    verdict = json_of(result)
    assert (result.exit_code, verdict["whole"]) == (1, 5)
    assert {bad["key"]: bad["problem"].split(":")[0] for bad in verdict["damaged"]} == kinds
    text = run("verify", "--store", url)
    assert "3 are damaged and would be dropped by --repair" in text.stdout
    assert PASSWORD not in text.output
    assert server.client.dbsize() == before


def test_repair_deletes_what_is_wrong_there_and_nothing_else(run: Run, server, damaged):
    url, kinds = damaged
    result = run("verify", "--repair", "--store", url)
    assert result.exit_code == 1
    assert "3 are damaged and are dropped" in result.stdout
    assert not any(server.client.exists(name_of(key)) for key in kinds)
    assert json_of(run("verify", "--store", url, "--json"))["whole"] == 5


def test_looking_deletes_nothing(run: Run, server, damaged):
    url, _ = damaged
    before = server.client.dbsize()
    for command in (["ls"], ["du"], ["show", str(keys_of("a")[0])], ["evict", "--all", "--dry-run"]):
        assert run(*command, "--store", url).exit_code == 0
    assert server.client.dbsize() == before


def test_chunks_are_evicted_there(run: Run, server, filled: str):
    assert json_of(run("evict", "--tenant", "acme", "--yes", "--store", filled, "--json"))["deleted"]
    assert server.client.dbsize() == 2


def test_the_address_may_come_from_the_settings(run: Run, filled: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KVSTORE_REMOTE_URL", filled)
    assert len(json_of(run("ls", "--store", "remote:", "--json"))) == 8
    result = run("ls", "--store", "replica:")
    assert (result.exit_code, "remote.replica" in result.stderr) == (2, True)


def test_a_server_that_is_full_does_not_take_what_is_imported(run: Run, forked: Path, tmp_path: Path):
    run("export", tmp_path / "forked.kv.zip", "--store", forked)
    with redis_server("--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as full:
        result = run("import", tmp_path / "forked.kv.zip", "--store", full.url())
    assert result.exit_code == 2
    assert "does not take what is put" in result.stderr


@pytest.mark.parametrize("command", [["ls"], ["du"], ["verify"], ["verify", "--repair"], ["export", "out.zip"]])
def test_a_server_that_is_down_is_one_line(run: Run, command):
    [port] = free_ports(1)
    result = run(*command, "--store", f"redis://:{PASSWORD}@127.0.0.1:{port}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"redis://127.0.0.1:{port}" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert PASSWORD not in result.stderr


@pytest.mark.parametrize(
    "url", [f"redis://:{PASSWORD}@host:port", f"nats://:{PASSWORD}@host", f"redis://:{PASSWORD}@h/x"]
)
def test_an_address_that_is_none_is_one_line_without_its_secret(run: Run, url: str):
    result = run("ls", "--store", url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert PASSWORD not in result.stderr


@pytest.mark.parametrize("command", [["pin", "0" * 8], ["unpin", "0" * 8], ["top", "--once"]])
def test_what_needs_a_directory_says_so(run: Run, command):
    result = run(*command, "--store", f"redis://:{PASSWORD}@127.0.0.1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "works on a directory" in result.stderr
    assert PASSWORD not in result.stderr


def test_a_profile_that_is_damaged_there_is_found_and_dropped(run: Run, server, url: str, tmp_path: Path):
    content = b"none that a codec could read"
    from hashlib import sha256

    fingerprint = sha256(content).hexdigest()
    with open_remote(url, deadline_s=20.0) as tier:
        assert tier.keep_profile(fingerprint, content)
    server.client.setrange(f"kvstore:profiles/{fingerprint}", 515, b"damage")
    result = run("verify", "--store", url, "--json")
    [bad] = json_of(result)["damaged_profiles"]
    assert (result.exit_code, bad["fingerprint"], bad["problem"].split(":")[0]) == (1, fingerprint, "torn")
    assert server.client.dbsize() == 1
    run("verify", "--repair", "--store", url)
    assert server.client.dbsize() == 0


def test_directories_are_left_as_they_were(forked: Path):
    with DiskReader(forked) as reader:
        assert reader.num_chunks == len(list(reader.entries())) == 8
