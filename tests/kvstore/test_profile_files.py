"""Profiles in a store's directory: named by their content, whole or not at all, and nothing else is a file name."""

import os
from hashlib import sha256

import pytest

from kvstore import DiskReader, DiskTier, InvalidRequest, MissingProfile, TierUnavailable, open_disk
from kvstore.profile_files import ProfileFiles
from tests.kvstore.children import child

CONTENT = b"a profile's content" * 100
FINGERPRINT = sha256(CONTENT).hexdigest()


@pytest.fixture
def files(tmp_path):
    return ProfileFiles(tmp_path / "profiles")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "profiles" / f"{FINGERPRINT}.safetensors"


def test_a_profile_is_kept_under_its_fingerprint_and_once(files, file):
    files.keep(FINGERPRINT, CONTENT)
    written = file.stat().st_mtime_ns, file.stat().st_ino
    files.keep(FINGERPRINT, CONTENT)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == written
    assert files.read(FINGERPRINT) == CONTENT
    assert files.size_bytes() == len(CONTENT)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_directory_that_is_not_there_holds_no_profiles(files, tmp_path):
    assert (files.fingerprints(), files.size_bytes(), files.read(FINGERPRINT)) == ([], 0, None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"x" + content[1:], lambda _: b""])
def test_a_damaged_profile_is_missing_and_named_and_written_again(damage, files, file):
    files.keep(FINGERPRINT, CONTENT)
    file.write_bytes(damage(CONTENT))
    with pytest.raises(MissingProfile, match=f"{FINGERPRINT}.safetensors is damaged"):
        files.read(FINGERPRINT)
    files.keep(FINGERPRINT, CONTENT)
    assert files.read(FINGERPRINT) == CONTENT


def test_a_renamed_profile_is_missing(files, file):
    files.keep(FINGERPRINT, CONTENT)
    other = "0" * 64
    file.rename(file.with_stem(other))
    assert files.read(FINGERPRINT) is None
    with pytest.raises(MissingProfile, match="does not hold what it is named by"):
        files.read(other)


def test_the_newest_profile_comes_first(files, file):
    contents = [CONTENT, b"another", b"a third"]
    for age, content in enumerate(contents):
        files.keep(sha256(content).hexdigest(), content)
        os.utime(file.with_stem(sha256(content).hexdigest()), (1000 - age, 1000 - age))
    assert files.fingerprints() == [sha256(content).hexdigest() for content in contents]


@pytest.mark.parametrize(
    "name",
    ["", ".", "../index/data.mdb", f"../{FINGERPRINT}", "/etc/passwd", FINGERPRINT.upper(), f"{FINGERPRINT}\n", "\0"],
)
def test_nothing_but_a_fingerprint_becomes_a_file_name(name, files, file, tmp_path):
    (tmp_path / f"{FINGERPRINT}.safetensors").write_bytes(CONTENT)
    files.keep(FINGERPRINT, CONTENT)
    assert files.read(name) is None
    files.delete(name)
    with pytest.raises(InvalidRequest):
        files.keep(name, CONTENT)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([file.name, file.name, "profiles"])


def test_strangers_in_the_directory_are_left_out(files, file):
    files.keep(FINGERPRINT, CONTENT)
    (file.parent / "notes.txt").write_text("mine")
    (file.parent / f"{'1' * 64}.unfinished").write_bytes(CONTENT[:5])
    (file.parent / f"{'2' * 64}.safetensors").mkdir()
    assert files.fingerprints() == [FINGERPRINT]
    assert files.read("2" * 64) is None


def test_a_full_disk_leaves_nothing_behind(files, file, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TierUnavailable, match="No space left"):
        files.keep(FINGERPRINT, CONTENT)
    assert list(file.parent.iterdir()) == []


def test_only_the_writer_of_a_directory_keeps_profiles(tmp_path):
    with child(_keep_on, tmp_path) as (pipe, _):
        assert pipe.recv() == "kept"
        with open_disk(tmp_path, 1 << 20) as second:
            assert type(second) is DiskReader
            assert not second.keep_profile(sha256(b"mine").hexdigest(), b"mine")
            assert second.profiles() == [FINGERPRINT]
            assert second.profile(FINGERPRINT) == CONTENT
            assert second.profile_bytes == len(CONTENT)
            files = [*tmp_path.glob("index/data.mdb"), *tmp_path.glob("segments/*")]
            assert second.file_bytes == sum(file.stat().st_size for file in files) + len(CONTENT)


def _keep_on(pipe, path):
    with DiskTier(path, 1 << 20) as tier:
        tier.keep_profile(FINGERPRINT, CONTENT)
        pipe.send("kept")
        pipe.recv()
