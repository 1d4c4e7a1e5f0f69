"""`kvstore export` and `kvstore import`: chunks of one store in another, and nothing that is not whole."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import codec_from
from kvstore import DiskReader, DiskTier, KVStore, Terms, frame_problem
from kvstore.archive import ArchiveReader, CorruptArchive
from tests.codec.calibrated import movable, profile_for
from tests.connectors.cli.conftest import CHUNK_TOKENS, FORKED, Run, entries_of, json_of, keys_of
from tests.kv import SPEC, kv_of_numbers

Members = dict[str, bytes]


@pytest.fixture
def archive(run: Run, forked: Path, tmp_path: Path) -> Path:
    """All of `forked`."""
    assert run("export", tmp_path / "all.zip", "--store", forked).exit_code == 0
    return tmp_path / "all.zip"


def members_of(archive: Path) -> Members:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def packed(path: Path, members: Members, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def frame_name(key: object) -> str:
    return f"frames/{key}.safetensors"


def test_what_was_exported_is_what_is_imported(run: Run, forked: Path, archive: Path, tmp_path: Path):
    result = run("import", archive, "--store", tmp_path / "new", "--json")
    assert result.exit_code == 0, result.stderr
    before, after = entries_of(forked), entries_of(tmp_path / "new")
    assert {str(key) for key in before} == set(json_of(result)["imported"])
    assert {key: (e.parent, e.terms) for key, e in before.items()} == {k: (e.parent, e.terms) for k, e in after.items()}
    with DiskReader(forked) as ours, DiskReader(tmp_path / "new") as theirs:
        assert all(ours.get(key) == theirs.get(key) for key in before)
    again = json_of(run("import", archive, "--store", tmp_path / "new", "--json"))
    assert (again["imported"], again["held"], again["problems"]) == ([], 8, [])


def test_any_unzip_opens_it(archive: Path):
    members = members_of(archive)
    assert set(members) == {"manifest.json", *(frame_name(key) for name in FORKED for key in keys_of(name))}
    assert json.loads(members["manifest.json"])["kvstore_archive"] == 1
    assert frame_problem(keys_of("a")[0], members[frame_name(keys_of("a")[0])]) is None
    assert not list(archive.parent.glob("*.unfinished"))


def test_a_chosen_chunk_brings_those_before_it(run: Run, forked: Path, tmp_path: Path):
    key = keys_of("b")[2]
    run("export", tmp_path / "part.zip", "--prefix", str(key)[:8], "--store", forked)
    run("import", tmp_path / "part.zip", "--store", tmp_path / "new")
    assert set(entries_of(tmp_path / "new")) == set(keys_of("b"))


def test_profiles_travel_with_the_frames_that_need_them(run: Run, tmp_path: Path):
    model = movable(SPEC)
    profile = profile_for(model)
    codec = codec_from("transform", {"profile": profile.fingerprint, "quality": "high"})
    with KVStore([DiskTier(tmp_path / "coded", 1 << 20)], codec, CHUNK_TOKENS) as store:
        store.save(store.identity(model), range(32), kv_of_numbers(model, 32))
    assert run("export", tmp_path / "coded.zip", "--store", tmp_path / "coded").exit_code == 0
    assert run("import", tmp_path / "coded.zip", "--store", tmp_path / "new").exit_code == 0
    with DiskReader(tmp_path / "new") as reader:
        assert reader.profile(profile.fingerprint) == profile.content
    members = members_of(tmp_path / "coded.zip")
    name = f"profiles/{profile.fingerprint}.safetensors"
    damaged = packed(tmp_path / "damaged.zip", {**members, name: members[name][:-1]})
    assert "profile " in run("import", damaged, "--store", tmp_path / "newer").stdout
    del members[name]
    result = run("import", packed(tmp_path / "without.zip", members), "--store", tmp_path / "newest", "--json")
    assert json_of(result)["absent_profiles"] == [profile.fingerprint]
    assert len(entries_of(tmp_path / "newest")) == 2


def test_damaged_frames_are_not_exported(run: Run, damaged: tuple[Path, list], tmp_path: Path):
    store, keys = damaged
    result = run("export", tmp_path / "out.zip", "--store", store, "--json")
    assert result.exit_code == 1
    assert set(json_of(result)["damaged"]) == {str(key) for key in keys}
    assert not members_of(tmp_path / "out.zip").keys() & {frame_name(key) for key in keys}


def test_what_has_expired_or_does_not_fit_is_said(run: Run, forked: Path, tmp_path: Path, monkeypatch):
    with DiskTier(forked, 1 << 20) as disk:
        for key, when in zip(keys_of("other"), (9e9, 9e9), strict=True):
            disk.put([(key, disk.get(key))], terms=Terms("", when))
    run("export", tmp_path / "all.zip", "--store", forked)
    members = members_of(tmp_path / "all.zip")
    manifest = members["manifest.json"].replace(b"9000000000.0", b"1000000000.0")
    old = packed(tmp_path / "old.zip", {**members, "manifest.json": manifest})
    shown = json_of(run("import", old, "--store", tmp_path / "new", "--json"))
    assert (len(shown["imported"]), shown["expired"]) == (6, 2)
    monkeypatch.setenv("KVSTORE_DISK_CAPACITY_BYTES", str(3 * len(members[frame_name(keys_of("a")[0])])))
    shown = json_of(run("import", old, "--store", tmp_path / "small", "--json"))
    assert shown["no_room"] > 0
    assert len(entries_of(tmp_path / "small")) == len(shown["imported"]) == 6 - shown["no_room"]
    assert "do not fit" in run("import", old, "--store", tmp_path / "small").stdout


def _flipped(members: Members) -> None:
    name = frame_name(keys_of("a")[3])
    members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])


def _swapped(members: Members) -> None:
    members[frame_name(keys_of("a")[3])] = members[frame_name(keys_of("b")[3])]


def _orphaned(members: Members) -> None:
    del members[frame_name(keys_of("a")[2])]


def _at_the_wrong_place(members: Members) -> None:
    parent, key = keys_of("a")[2], keys_of("a")[3]
    text = members["manifest.json"].decode()
    head, tail = text.split(f'"key": "{key}"')
    members["manifest.json"] = (
        head + f'"key": "{key}"' + tail.replace(str(parent), str(keys_of("other")[0]), 1)
    ).encode()


def _with_a_path(members: Members) -> None:
    members["frames/../../../tmp/evil.safetensors"] = b"evil"
    members["/etc/evil"] = b"evil"


def _in_a_ring(members: Members) -> None:
    manifest = json.loads(members["manifest.json"])
    records = {record["key"]: record for record in manifest["chunks"]}
    records[str(keys_of("other")[0])]["parent"] = str(keys_of("other")[1])
    members["manifest.json"] = json.dumps(manifest).encode()


def _ill_described(members: Members) -> None:
    manifest = json.loads(members["manifest.json"])
    records = manifest["chunks"]
    records[0]["tenant"] = "\ud800"
    records[1]["hits"] = -1
    records[2]["saved_at_s"] = 10**400
    records[3]["key"] = "../../etc/passwd"
    records[4]["parent"] = ["list"]
    records[5]["expires_at_s"] = True
    records[6]["more"] = 1
    records[7] = None
    members["manifest.json"] = json.dumps([manifest])[1:-1].encode()


@pytest.mark.parametrize(
    ("spoil", "num_imported"),
    [
        (_flipped, 7),
        (_swapped, 7),
        (_orphaned, 6),
        (_at_the_wrong_place, 7),
        (_with_a_path, 8),
        (_in_a_ring, 6),
        (_ill_described, 0),
    ],
)
def test_hostile_parts_are_skipped_and_named(
    run: Run, archive: Path, tmp_path: Path, spoil: Callable[[Members], None], num_imported: int
):
    members = members_of(archive)
    spoil(members)
    result = run("import", packed(tmp_path / "spoilt.zip", members), "--store", tmp_path / "new", "--json")
    assert result.exit_code == 1
    shown = json_of(result)
    assert shown["problems"]
    assert len(shown["imported"]) == num_imported == len(entries_of(tmp_path / "new"))
    verdict = run("verify", "--store", tmp_path / "new", "--json")
    assert (verdict.exit_code, json_of(verdict)["unreachable"]) == (0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.zip", "forked", "new", "spoilt.zip"]


def test_compressed_members_are_not_read(run: Run, archive: Path, tmp_path: Path):
    members = members_of(archive)
    bomb = packed(tmp_path / "bomb.zip", {frame_name("0" * 64): bytes(1 << 24)}, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(bomb, "a") as opened:
        opened.writestr("manifest.json", members["manifest.json"])
    result = run("import", bomb, "--store", tmp_path / "new", "--json")
    assert "is compressed or encrypted" in {problem["problem"] for problem in json_of(result)["problems"]}
    assert entries_of(tmp_path / "new") == {}


def test_a_name_that_is_there_twice_is_not_read(run: Run, archive: Path, tmp_path: Path):
    name = frame_name(keys_of("other")[1])
    content = members_of(archive)[name]
    with zipfile.ZipFile(archive, "a") as opened, pytest.warns(UserWarning, match="Duplicate name"):
        opened.writestr(name, content)
    shown = json_of(run("import", archive, "--store", tmp_path / "new", "--json"))
    assert {"part": name, "problem": "is there 2 times"} in shown["problems"]
    assert len(shown["imported"]) == 7


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{}", b"[]", b'{"kvstore_archive": 2, "chunks": []}', b"[" * 100_000, b'{"kvstore_archive": NaN}', b"\xff"],
)
def test_without_a_manifest_there_is_no_archive(run: Run, archive: Path, tmp_path: Path, manifest: bytes):
    spoilt = packed(tmp_path / "spoilt.zip", {**members_of(archive), "manifest.json": manifest})
    result = run("import", spoilt, "--store", tmp_path / "new")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_file_that_cannot_be_written_is_an_error(run: Run, forked: Path, tmp_path: Path):
    result = run("export", tmp_path / "nowhere" / "out.zip", "--store", forked)
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.stderr


def test_other_files_are_refused_in_one_line(run: Run, tmp_path: Path):
    (tmp_path / "text").write_text("no zip")
    assert "is not a zip file" in run("import", tmp_path / "text", "--store", tmp_path / "new").stderr
    assert "there is no file" in run("import", tmp_path / "nothing", "--store", tmp_path / "new").stderr


@given(data=st.data())
def test_any_damage_is_an_error_or_leaves_whole_frames(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    archive = _small_archive(tmp_path_factory)
    content = bytearray(archive.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for at in data.draw(st.lists(st.integers(0, max(len(content) - 1, 0)), max_size=8)):
        if content:
            content[at] ^= data.draw(st.integers(1, 255))
    spoilt = archive.with_name("spoilt.zip")
    spoilt.write_bytes(content)
    try:
        with ArchiveReader(spoilt) as reader:
            for chunk in reader.chunks:
                assert len(reader.frame(chunk.key)) == chunk.size_bytes <= len(content)
    except CorruptArchive:
        pass


def _small_archive(factory: pytest.TempPathFactory) -> Path:
    directory = factory.mktemp("archive")
    key = keys_of("a")[0]
    record = {"key": str(key), "parent": None, "tenant": "t", "saved_at_s": 1.0, "expires_at_s": None, "hits": 0}
    manifest = json.dumps({"kvstore_archive": 1, "chunks": [record]}).encode()
    return packed(directory / "small.zip", {frame_name(key): b"frame", "manifest.json": manifest})
