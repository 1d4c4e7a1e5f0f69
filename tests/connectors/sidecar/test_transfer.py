"""Archives over HTTP, out and in, and verifying: what is whole arrives, and what is not is named."""

import io
import json
import shutil
import socket
import subprocess
import zipfile
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codec import codec_from
from connectors.sidecar import transfer_routes
from connectors.sidecar.callers import Caller, Tokens
from connectors.sidecar.transfer import archive_of, verified
from connectors.sidecar.view import View
from kvstore import ChunkTree, DiskReader, DiskTier, KVStore, MemoryTier, Tiers
from kvstore.archive import ArchiveReader
from tests.codec.calibrated import movable, profile_for
from tests.connectors.cli.conftest import CHUNK_TOKENS
from tests.connectors.sidecar.prompts import (
    ACME,
    ADMIN,
    CAPACITY_BYTES,
    GLOBEX,
    ask,
    damage,
    fill,
    keys_of,
    lines_of,
    serving_disk,
)
from tests.kv import SPEC, kv_of_numbers


@pytest.fixture
def path(tmp_path):
    fill(tmp_path / "store")
    return tmp_path / "store"


def exported(path, token=ADMIN, **query):
    with serving_disk(path) as served:
        answered = ask(served, "/v1/export", token=token, **query)
    assert answered.status == 200, answered.body
    return answered.body


def imported(path, archive, token=ADMIN, **options):
    """What a service over a directory answers to an archive."""
    with serving_disk(path, **options) as served:
        return ask(served, "/v1/import", "POST", archive, token)


def entries_of(path):
    with DiskReader(path) as reader:
        return {entry.key: (entry.parent, entry.terms, bytes(reader.get(entry.key))) for entry in reader.entries()}


def members_of(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def packed(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return file.getvalue()


def test_what_is_exported_is_what_is_imported(path, tmp_path):
    archive = exported(path)
    answered = imported(tmp_path / "new", archive)
    assert (answered.status, answered.json["problems"]) == (200, [])
    assert set(answered.json["imported"]) == {str(key) for key in entries_of(path)}
    assert entries_of(tmp_path / "new") == entries_of(path)
    again = imported(tmp_path / "new", archive).json
    assert (again["imported"], again["held"]) == ([], 8)
    assert {each.name for each in (tmp_path / "new").iterdir()} == {each.name for each in path.iterdir()}


def test_a_streamed_archive_is_read_by_the_command_and_by_any_unzip(path, tmp_path):
    file = tmp_path / "all.zip"
    file.write_bytes(exported(path))
    with ArchiveReader(file) as archive:
        assert (len(archive.chunks), archive.problems) == (8, [])
    with zipfile.ZipFile(file) as opened:
        assert opened.testzip() is None
    if unzip := shutil.which("unzip"):
        assert subprocess.run([unzip, "-tq", file], check=False).returncode == 0


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_is_streamed_while_it_is_read(path):
    with DiskTier(path, CAPACITY_BYTES) as disk:
        read = []
        view = View(disk, Caller(None))
        peek = disk.peek
        disk.peek = lambda key, num_bytes: (read.append(key), peek(key, num_bytes))[1]
        entries = list(ChunkTree(view.entries()).prefix_first())
        large = [entry for entry in entries for _ in range(200)]
        pieces = archive_of(view, large)
        assert len(next(pieces)) < 100_000
        assert len(read) < len(large) // 2


def test_filters_choose_what_is_exported(path):
    names = {name: {f"frames/{key}.safetensors" for key in keys_of(name)} for name in ("a", "b", "other")}
    acme = names["a"] | names["b"]

    def frames(token=ADMIN, **query):
        return set(members_of(exported(path, token, **query))) - {"manifest.json"}

    assert frames(ACME) == frames(tenant="acme") == acme
    assert frames(GLOBEX) == names["other"]
    assert frames(prefix=str(keys_of("b")[2])[:10]) == names["b"]
    assert frames(model="small") == acme | names["other"]
    assert frames(model="large") == set()
    with serving_disk(path) as served:
        assert ask(served, "/v1/export", token=ACME, tenant="globex").code == "forbidden"
        assert ask(served, "/v1/export", token=ACME, prefix=keys_of("other")[0]).code == "not-found"


def test_a_tenant_imports_its_own_chunks_alone(path, tmp_path):
    answered = imported(tmp_path / "new", exported(path), GLOBEX).json
    assert set(answered["imported"]) == {str(key) for key in keys_of("other")}
    assert len(answered["problems"]) == 6
    assert "another's" in answered["problems"][0]["problem"]
    assert set(entries_of(tmp_path / "new")) == set(keys_of("other"))


def test_damaged_frames_are_left_out_and_named(path):
    key = damage(path, "b")
    manifest = json.loads(members_of(exported(path))["manifest.json"])
    assert set(manifest["damaged"]) == {str(key)}
    assert len(manifest["chunks"]) == 7


def test_a_damaged_frame_in_an_archive_is_named_and_not_taken(path, tmp_path):
    members = members_of(exported(path))
    name = f"frames/{keys_of('a')[3]}.safetensors"
    members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])
    answered = imported(tmp_path / "new", packed(members)).json
    assert (len(answered["imported"]), len(answered["problems"])) == (7, 1)
    assert keys_of("a")[3] not in entries_of(tmp_path / "new")


def test_what_is_imported_outlives_the_service_though_memory_is_in_front(path, tmp_path):
    memory = MemoryTier(CAPACITY_BYTES)
    imported(tmp_path / "new", exported(path), faster=[memory])
    assert entries_of(tmp_path / "new") == entries_of(path)


def test_what_does_not_fit_is_declined_before_it_is_received(path, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer_routes, "room_for_spool", lambda service: 100)
    assert imported(tmp_path / "new", exported(path)).code == "no-room"


def test_an_archive_that_is_too_long_is_not_received(tmp_path):
    with serving_disk(tmp_path / "new") as served:
        length = str(65 << 30)
        with socket.create_connection(_address(served), timeout=10) as connection:
            connection.sendall(_head(f"Content-Length: {length}"))
            assert b" 413 " in connection.recv(4096)
        with socket.create_connection(_address(served), timeout=10) as connection:
            connection.sendall(_head("Transfer-Encoding: chunked"))
            assert b" 411 " in connection.recv(4096)


def test_half_an_archive_changes_nothing(path, tmp_path):
    archive = exported(path)
    with serving_disk(tmp_path / "new") as served:
        with socket.create_connection(_address(served), timeout=10) as connection:
            connection.sendall(_head(f"Content-Length: {len(archive)}") + archive[:-100])
        assert ask(served, "/v1/import", "POST", archive[:-100], ADMIN).code == "invalid-request"
        assert ask(served, "/v1/chunks", token=ADMIN).json == []
        assert ask(served, "/v1/import", "POST", archive, ADMIN).json["problems"] == []


def _address(served):
    parts = urlsplit(served.url)
    return parts.hostname, parts.port


def _head(line):
    return f"POST /v1/import HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n{line}\r\n\r\n".encode()


@pytest.fixture(scope="module")
def some_archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("some") / "store"
    fill(path)
    return exported(path)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    with serving_disk(tmp_path_factory.mktemp("new") / "store") as served:
        yield served


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_is_sent_as_an_archive_breaks_the_service(new, some_archive, data):
    changed = bytearray(some_archive)
    for at in data.draw(st.lists(st.integers(0, len(changed) - 1), max_size=5)):
        changed[at] ^= data.draw(st.integers(1, 255))
    body = bytes(changed[: data.draw(st.integers(0, len(changed)) | st.just(len(changed)))])
    answered = ask(new, "/v1/import", "POST", body, ADMIN)
    assert answered.status == 200 or answered.code in ("invalid-request", "length-required")
    held = lines_of(ask(new, "/v1/verify", "POST", token=ADMIN))
    assert (held[-1]["done"], held[-1]["damaged"]) == (True, 0)


def test_verify_names_what_is_damaged_and_repair_drops_it(path):
    key = damage(path, "b")
    with serving_disk(path) as served:
        bad, sums = lines_of(ask(served, "/v1/verify", "POST", token=ADMIN))
        assert (bad["tier"], bad["key"], bad["dropped"]) == ("disk", str(key), False)
        assert (sums["done"], sums["whole"], sums["damaged"], sums["dropped"]) == (True, 7, 1, 0)
        assert [line["whole"] for line in lines_of(ask(served, "/v1/verify", "POST", token=GLOBEX))] == [2]
        dropped, sums = lines_of(ask(served, "/v1/verify", "POST", token=ACME, repair=True))
        assert (dropped["key"], dropped["dropped"], sums["dropped"]) == (str(key), True, 1)
        (sums,) = lines_of(ask(served, "/v1/verify", "POST", token=ADMIN))
        assert (sums["whole"], sums["damaged"]) == (7, 0)
        assert served.context.service.metrics.snapshot()["chunks_corrupt"] == 1
        assert {each["key"] for each in ask(served, "/v1/quarantined", token=ADMIN).json} == {str(key)}


def test_verify_says_how_far_it_is(path):
    with Tiers([DiskTier(path, CAPACITY_BYTES)]) as tiers:
        seconds = iter(range(1000))

        class Service:
            pass

        service = Service()
        service.tiers = tiers
        lines = list(verified(service, Caller(None), False, clock=lambda: float(next(seconds))))
    assert [line["whole"] for line in lines[:-1]] == sorted({line["whole"] for line in lines[:-1]})
    assert len(lines) > 3
    assert lines[-1]["done"]


def test_without_tokens_everybody_on_this_host_may(path, tmp_path):
    with serving_disk(path, tokens=Tokens()) as served:
        archive = ask(served, "/v1/export").body
    assert len(imported(tmp_path / "new", archive, None, tokens=Tokens()).json["imported"]) == 8


def test_profiles_come_along_for_the_admin_alone(tmp_path):
    spec = movable(SPEC)
    profile = profile_for(spec)
    codec = codec_from("transform", {"profile": profile.fingerprint, "quality": "high"})
    with KVStore([DiskTier(tmp_path / "coded", CAPACITY_BYTES)], codec, CHUNK_TOKENS) as store:
        store.save(store.identity(spec, "acme"), range(32), kv_of_numbers(spec, 32))
    archive = exported(tmp_path / "coded", ACME)
    assert imported(tmp_path / "new", archive, ACME).json["absent_profiles"] == [profile.fingerprint]
    assert len(entries_of(tmp_path / "new")) == 2
    assert imported(tmp_path / "newer", archive).json["absent_profiles"] == []
    with DiskReader(tmp_path / "newer") as reader:
        assert reader.profile(profile.fingerprint) == profile.content


def test_a_frame_of_more_than_the_service_takes_is_named_and_not_read(path, tmp_path):
    archive = exported(path)
    answered = imported(tmp_path / "new", archive, most_bytes=100).json
    assert answered["imported"] == []
    assert "100 at most are allowed" in answered["problems"][0]["problem"]
