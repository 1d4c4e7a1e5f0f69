"""One process writes a directory and others read it: live, and without a hand in it."""

import pytest

from kvstore import DiskReader, DiskTier, Tiers, TierUnavailable, open_disk
from kvstore.disk import BlockingWriter
from kvstore.testing import frame, frames, key, prompt
from tests.kvstore.children import child

CAPACITY = 1 << 20


def obey(pipe, path):
    """Opens the directory and does what it is told, one call of a tier after the other."""
    with DiskTier(path, CAPACITY) as tier:
        pipe.send("open")
        while call := pipe.recv():
            verb, *arguments = call
            pipe.send(getattr(tier, verb)(*arguments))


@pytest.fixture
def writer(tmp_path):
    """Calls a tier that another process has open on tmp_path; `writer()` closes it."""
    with child(obey, tmp_path) as (pipe, process):
        assert pipe.recv() == "open"

        def call(*verb_and_arguments):
            pipe.send(verb_and_arguments)
            return pipe.recv() if verb_and_arguments else process.join()

        yield call


def test_a_second_writer_is_refused(tmp_path, writer):
    with pytest.raises(BlockingWriter):
        DiskTier(tmp_path, CAPACITY)


def test_a_directory_is_free_again_when_its_writer_closes(tmp_path, writer):
    writer("put", frames(prompt("a", 2)))
    writer()
    with open_disk(tmp_path, CAPACITY) as tier:
        assert isinstance(tier, DiskTier)
        assert tier.match(prompt("a", 2)) == 2


def test_a_reader_sees_what_the_writer_does_as_it_happens(tmp_path, writer):
    keys = prompt("a", 3)
    with open_disk(tmp_path, CAPACITY) as reader:
        assert isinstance(reader, DiskReader)
        assert reader.match(keys) == 0
        writer("put", frames(keys))
        assert reader.match(keys) == 3
        assert reader.get(keys[1]) == frame(keys[1])
        assert reader.size_bytes == sum(entry.size_bytes for entry in reader.entries()) == 3000
        writer("delete", keys[1])
        assert reader.match(keys) == 1
        assert reader.get(keys[1]) is None
        writer("quarantine", keys[0], "for a test")
        assert reader.match(keys) == 0
        assert reader.quarantined()[str(keys[0])]["reason"] == "for a test"


def test_a_readers_view_survives_what_the_writer_does(tmp_path, writer):
    writer("put", frames([key("a")], 50_000))
    with DiskReader(tmp_path) as reader:
        view = reader.get(key("a"))
        writer("delete", key("a"))
        for number in range(10):
            writer("put", frames([key(str(number))], 50_000))
        assert view == frame(key("a"), 50_000)


def test_a_reader_changes_nothing(tmp_path, writer):
    writer("put", frames([key("a")]))
    with DiskReader(tmp_path) as reader:
        assert reader.put(frames([key("b")])) == 0
        assert not reader.delete(key("a"))
        reader.touch([key("a")])
        assert reader.get(key("a")) == frame(key("a"))
        assert [entry.hits for entry in reader.entries()] == [0]


def test_a_frame_a_reader_rejected_is_a_miss_for_that_reader_only(tmp_path, writer):
    keys = prompt("a", 3)
    writer("put", frames(keys))
    with DiskReader(tmp_path) as reader:
        reader.quarantine(keys[1], "for a test")
        assert reader.match(keys) == 1
        assert reader.get(keys[1]) is None
    assert writer("match", keys) == 3


def test_a_reader_peeks_at_the_first_bytes(tmp_path, writer):
    writer("put", frames([key("a")]))
    with DiskReader(tmp_path) as reader:
        assert reader.peek(key("a"), 100) == frame(key("a"))[:100]
        assert reader.peek(key("b"), 100) is None
        assert reader.file_bytes > 0


@pytest.mark.parametrize("path", ["missing", "empty"])
def test_a_reader_of_no_store_is_unavailable(tmp_path, path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TierUnavailable):
        DiskReader(tmp_path / path)


def test_a_reader_whose_directory_vanished_is_still_safe_to_ask(tmp_path, writer):
    writer("put", frames(prompt("a", 2)))
    reader = DiskReader(tmp_path)
    with Tiers([reader]) as tiers:
        for file in (tmp_path / "frames").iterdir():
            file.unlink()
        assert tiers.match(prompt("a", 2)) in (0, 2)
        assert tiers.get(key("b")) is None
