"""A damaged LMDB file: set aside by the writer, refused by readers, never served."""

import pytest

from kvstore import LmdbReader, LmdbTier, TierUnavailable
from kvstore.testing import frames, prompt

CAPACITY = 64 << 20


def garbage(data):
    return b"\xa5" * len(data)


DAMAGE = {
    "garbage": garbage,
    "short garbage": lambda data: b"garbage",
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "the first two pages only": lambda data: data[:8192],
    "garbage behind the first two pages": lambda data: data[:8192] + garbage(data[8192:]),
}


@pytest.fixture
def filled(tmp_path):
    with LmdbTier(tmp_path, CAPACITY) as tier:
        tier.put(frames(prompt("a", 20)))
    return tmp_path


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_set_aside_and_the_tier_opens_empty(filled, damage, caplog):
    file = filled / "frames" / "data.mdb"
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    with LmdbTier(filled, CAPACITY) as tier:
        assert list(tier.entries()) == []
        assert tier.put(frames(prompt("a", 2))) == 2
    (aside,) = filled.glob("frames.damaged-*")
    assert (aside / "data.mdb").read_bytes() == damaged
    assert aside.name in caplog.text
    with LmdbTier(filled, CAPACITY) as tier:
        assert tier.match(prompt("a", 20)) == 2


def test_an_empty_file_opens_as_an_empty_tier(filled):
    (filled / "frames" / "data.mdb").write_bytes(b"")
    with LmdbTier(filled, CAPACITY) as tier:
        assert tier.match(prompt("a", 20)) == 0


def test_a_whole_file_that_cannot_be_opened_now_is_not_set_aside(filled):
    lock = filled / "frames" / "lock.mdb"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(TierUnavailable):
        LmdbTier(filled, CAPACITY)
    lock.rmdir()
    with LmdbTier(filled, CAPACITY) as tier:
        assert tier.match(prompt("a", 20)) == 20


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_reader_of_a_damaged_file_is_unavailable(filled, damage):
    file = filled / "frames" / "data.mdb"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(TierUnavailable), LmdbReader(filled) as reader:
        list(reader.entries())
