"""Segments and index cut short, flipped, lost, aged: the tier opens, and gives the right bytes or none."""

import logging
import os
import random
import shutil
from contextlib import suppress

import pytest

from kvstore import DiskReader, DiskTier, Terms, TierUnavailable, disk
from kvstore.lmdb_env import structural_problem
from kvstore.testing import frame, frames, key, prompt
from tests.kvstore.children import child
from tests.kvstore.test_lmdb_damage import DAMAGE

CAPACITY = 64 << 20
FRAME_BYTES = 9000
RECORD_BYTES = 4096 + 12288
KEYS = prompt("a", 20)


@pytest.fixture
def filled(tmp_path):
    with DiskTier(tmp_path, CAPACITY) as tier:
        tier.put(frames(KEYS, FRAME_BYTES))
    return tmp_path


def segment_of(path):
    (segment,) = (path / "segments").iterdir()
    return segment


def assert_right_or_missing(tier, keys=KEYS):
    """How many frames are right."""
    got = {each: tier.get(each) for each in keys}
    assert all(view is None or view == frame(each, FRAME_BYTES) for each, view in got.items())
    return sum(view is not None for view in got.values())


def test_a_flipped_bit_is_a_miss_that_is_remembered(filled, caplog):
    segment = segment_of(filled)
    data = bytearray(segment.read_bytes())
    data[5 * RECORD_BYTES + 4096 + 100] ^= 1  # a payload
    data[8 * RECORD_BYTES + 60] ^= 1  # a header
    segment.write_bytes(data)
    with DiskReader(filled) as reader:
        assert assert_right_or_missing(reader) == 18
        assert reader.quarantined().keys() == {str(KEYS[5]), str(KEYS[8])}
        assert reader.match(KEYS) == 5
    with DiskTier(filled, CAPACITY) as tier:
        assert tier.match(KEYS) == 20
        assert assert_right_or_missing(tier) == 18
        assert tier.match(KEYS) == 5
        assert tier.put(frames(KEYS[5:6], FRAME_BYTES), KEYS[:5]) == 1
        assert tier.match(KEYS) == 8
    assert str(KEYS[8]) in caplog.text


def test_any_bit_of_a_segment_may_flip(filled, caplog):
    caplog.set_level(logging.ERROR)
    segment, choose = segment_of(filled), random.Random(1)
    whole = segment.read_bytes()
    with DiskReader(filled) as reader:
        for _ in range(2000):
            place = choose.randrange(len(whole))
            with segment.open("r+b", buffering=0) as file:
                os.pwrite(file.fileno(), bytes([whole[place] ^ 1 << choose.randrange(8)]), place)
                reader._rejected.clear()
                each = KEYS[place // RECORD_BYTES]
                assert reader.get(each) in (None, frame(each, FRAME_BYTES))
                os.pwrite(file.fileno(), whole[place : place + 1], place)
        reader._rejected.clear()
        assert assert_right_or_missing(reader) == 20


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 5 * RECORD_BYTES - 1, 5 * RECORD_BYTES, 5 * RECORD_BYTES + 4096])
def test_a_segment_cut_short_keeps_what_is_whole(filled, length, with_index):
    os.truncate(segment_of(filled), length)
    if not with_index:
        shutil.rmtree(filled / "index")
    with DiskTier(filled, CAPACITY) as tier:
        assert assert_right_or_missing(tier) == tier.match(KEYS) == length // RECORD_BYTES
        assert tier.put(frames(KEYS, FRAME_BYTES)) == 20
        assert assert_right_or_missing(tier) == 20


def test_lost_segments_are_lost_chunks(filled):
    shutil.rmtree(filled / "segments")
    with DiskTier(filled, CAPACITY) as tier:
        assert list(tier.entries()) == []
        assert tier.put(frames(KEYS, FRAME_BYTES)) == 20


def test_a_lost_index_is_made_anew_from_the_headers(filled, caplog):
    terms = Terms("Ünal & Söhne", 1e12)
    with DiskTier(filled, CAPACITY) as tier:
        tier.put(frames([key("b")], FRAME_BYTES), KEYS, terms)
        tier.delete(KEYS[19])
        before = sorted(tier.entries(), key=lambda entry: entry.key)
    shutil.rmtree(filled / "index")
    with DiskTier(filled, CAPACITY) as tier:
        after = sorted(tier.entries(), key=lambda entry: entry.key)
        assert [(entry.key, entry.size_bytes, entry.saved_at_s, entry.terms, entry.parent) for entry in after] == [
            (entry.key, entry.size_bytes, entry.saved_at_s, entry.terms, entry.parent) for entry in before
        ]
        assert assert_right_or_missing(tier) == 19
        assert tier.size_bytes == 20 * FRAME_BYTES
    assert "20 records" in caplog.text


def test_the_newest_frame_of_a_key_is_found_without_the_index(tmp_path):
    with DiskTier(tmp_path, CAPACITY) as tier:
        for version in range(3):
            tier.put([(key("a"), frame(key("a"), version=version))])
    shutil.rmtree(tmp_path / "index")
    with DiskTier(tmp_path, CAPACITY) as tier:
        assert tier.get(key("a")) == frame(key("a"), version=2)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_set_aside_and_made_anew(filled, damage, caplog):
    file = filled / "index" / "data.mdb"
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    with DiskTier(filled, CAPACITY) as tier:
        assert assert_right_or_missing(tier) == tier.match(KEYS) == 20
    (aside,) = filled.glob("index.damaged-*")
    assert (aside / "data.mdb").read_bytes() == damaged
    assert aside.name in caplog.text


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_reader_of_a_damaged_index_is_unavailable(filled, damage):
    file = filled / "index" / "data.mdb"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(TierUnavailable), DiskReader(filled) as reader:
        list(reader.entries())


def test_an_index_older_than_the_segments_takes_in_what_came_since(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_MIN_SEGMENT_BYTES", 10 * RECORD_BYTES)
    with DiskTier(tmp_path, 40 * FRAME_BYTES) as tier:
        tier.put(frames(prompt("old", 25), FRAME_BYTES))
    shutil.copytree(tmp_path / "index", tmp_path / "copy")
    with DiskTier(tmp_path, 40 * FRAME_BYTES) as tier:
        for name in "abc":
            assert tier.put(frames(prompt(name, 12), FRAME_BYTES)) == 12
        held = {entry.key for entry in tier.entries()}
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "copy").rename(tmp_path / "index")
    with DiskTier(tmp_path, 40 * FRAME_BYTES) as tier:
        seen = {entry.key for entry in tier.entries()}
        assert assert_right_or_missing(tier, sorted(seen)) == len(seen)
        assert {each for name in "bc" for each in prompt(name, 12)} <= seen & held
        assert tier.size_bytes == len(seen) * FRAME_BYTES <= 40 * FRAME_BYTES


def use_and_use_again(pipe, path):
    """What must work on any index: each opening may find it damaged, none may give wrong bytes."""
    for _ in range(3):
        with suppress(TierUnavailable), DiskTier(path, CAPACITY) as tier:
            tier.match(KEYS)
            assert_right_or_missing(tier)
            list(tier.entries())
            tier.put(frames([key("new")], FRAME_BYTES))
            tier.delete(key("new"))
    pipe.send("done")


def test_any_bit_of_the_index_may_flip(filled):
    file, choose = filled / "index" / "data.mdb", random.Random(1)
    whole, segment = file.read_bytes(), segment_of(filled)
    record = segment.read_bytes()
    for _ in range(30):
        shutil.rmtree(filled / "index")
        shutil.rmtree(filled / "segments")
        file.parent.mkdir()
        segment.parent.mkdir()
        place = choose.randrange(len(whole))
        flipped = bytes([whole[place] ^ 1 << choose.randrange(8)])
        file.write_bytes(whole[:place] + flipped + whole[place + 1 :])
        segment.write_bytes(record)
        with child(use_and_use_again, filled) as (pipe, process):
            assert pipe.recv() == "done", f"byte {place} of the index"
            process.join()


def test_an_index_that_is_not_as_it_was_closed_is_set_aside(filled, caplog):
    file = filled / "index" / "data.mdb"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])  # wherever that is
    with pytest.raises(TierUnavailable, match="not as it was closed"):
        DiskReader(filled)
    with DiskTier(filled, CAPACITY) as tier:
        assert assert_right_or_missing(tier) == 20
    assert len(list(filled.glob("index.damaged-*"))) == 1
    with DiskReader(filled) as reader:
        assert reader.match(KEYS) == 20


def test_an_index_over_which_a_writer_died_is_looked_at_and_set_aside(filled):
    file, choose = filled / "index" / "data.mdb", random.Random(2)
    whole = file.read_bytes()
    while structural_problem(file.parent) is None:
        place = choose.randrange(8192, len(whole))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    (file.parent / "seal").unlink()
    with DiskTier(filled, CAPACITY) as tier:
        assert assert_right_or_missing(tier) == 20
    assert len(list(filled.glob("index.damaged-*"))) == 1


@pytest.mark.parametrize("left", [None, b"", b"cut short", b"0" * 32])
def test_a_sound_index_is_kept_where_its_seal_is_lost(filled, left):
    seal = filled / "index" / "seal"
    seal.unlink() if left is None else seal.write_bytes(left)
    with DiskTier(filled, CAPACITY) as tier:
        assert tier.match(KEYS) == 20
        assert not seal.exists()
    assert seal.exists()
    assert list(filled.glob("index.damaged-*")) == []


def test_a_removed_segment_that_is_back_changes_nothing_that_was_put_since(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_MIN_SEGMENT_BYTES", 5 * RECORD_BYTES)
    with DiskTier(tmp_path, 8 * FRAME_BYTES) as tier:
        tier.put([(each, frame(each, FRAME_BYTES, version=1)) for each in KEYS[:5]])
        first = segment_of(tmp_path)
        removed = first.read_bytes()
        tier.put(frames(KEYS[:5], FRAME_BYTES))
        assert not first.exists()
    first.write_bytes(removed)
    with DiskTier(tmp_path, 8 * FRAME_BYTES) as tier:
        assert assert_right_or_missing(tier, KEYS[:5]) == 5
    assert not first.exists()
