"""One process writes a directory and others read it: live, and without a hand in it."""

import pytest

from kvstore import BlockingWriter, DiskReader, DiskTier, Tiers, TierUnavailable, disk, disk_index, lmdb_env, open_disk
from kvstore.testing import frame, frames, key, prompt
from tests.kvstore.children import child

CAPACITY = 1 << 20


def obey(pipe, path, durable, capacity_bytes=CAPACITY):
    """Opens the directory and does what it is told, one call of a tier after the other."""
    with durable(path, capacity_bytes) as tier:
        pipe.send("open")
        while call := pipe.recv():
            verb, *arguments = call
            pipe.send(getattr(tier, verb)(*arguments))


@pytest.fixture
def writer(tmp_path, durable):
    """Calls a tier that another process has open on tmp_path; `writer()` closes it."""
    with child(obey, tmp_path, durable) as (pipe, process):
        assert pipe.recv() == "open"

        def call(*verb_and_arguments):
            pipe.send(verb_and_arguments)
            return pipe.recv() if verb_and_arguments else process.join()

        yield call


def test_a_second_writer_is_refused(tmp_path, durable, writer):
    with pytest.raises(BlockingWriter):
        durable(tmp_path, CAPACITY)


def test_a_directory_is_free_again_when_its_writer_closes(tmp_path, durable, writer):
    writer("put", frames(prompt("a", 2)))
    writer()
    with durable(tmp_path, CAPACITY) as tier:
        assert tier.match(prompt("a", 2)) == 2


def test_a_reader_sees_what_the_writer_does_as_it_happens(tmp_path, writer, reader_of):
    keys = prompt("a", 3)
    with reader_of(tmp_path) as reader:
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


def test_a_readers_view_survives_what_the_writer_does(tmp_path, writer, reader_of):
    writer("put", frames([key("a")], 50_000))
    with reader_of(tmp_path) as reader:
        view = reader.get(key("a"))
        writer("delete", key("a"))
        for number in range(10):
            writer("put", frames([key(str(number))], 50_000))
        assert view == frame(key("a"), 50_000)


def test_a_reader_changes_nothing(tmp_path, writer, reader_of):
    writer("put", frames([key("a")]))
    with reader_of(tmp_path) as reader:
        assert reader.put(frames([key("b")])) == 0
        assert not reader.delete(key("a"))
        reader.touch([key("a")])
        assert reader.get(key("a")) == frame(key("a"))
        assert [entry.hits for entry in reader.entries()] == [0]


def test_a_frame_a_reader_rejected_is_a_miss_for_that_reader_only(tmp_path, writer, reader_of):
    keys = prompt("a", 3)
    writer("put", frames(keys))
    with reader_of(tmp_path) as reader:
        reader.quarantine(keys[1], "for a test")
        assert reader.match(keys) == 1
        assert reader.get(keys[1]) is None
    assert writer("match", keys) == 3


def test_a_reader_peeks_at_the_first_bytes(tmp_path, writer, reader_of):
    writer("put", frames([key("a")]))
    with reader_of(tmp_path) as reader:
        assert reader.peek(key("a"), 100) == frame(key("a"))[:100]
        assert reader.peek(key("b"), 100) is None
        assert reader.file_bytes > 0


@pytest.mark.parametrize("path", ["missing", "empty"])
def test_a_reader_of_no_store_is_unavailable(tmp_path, reader_of, path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TierUnavailable):
        reader_of(tmp_path / path)


def test_a_reader_whose_directory_vanished_is_still_safe_to_ask(tmp_path, writer, reader_of):
    writer("put", frames(prompt("a", 2)))
    reader = reader_of(tmp_path)
    with Tiers([reader]) as tiers:
        for file in tmp_path.rglob("*.*"):
            file.unlink()
        assert tiers.match(prompt("a", 2)) in (0, 2)
        assert tiers.get(key("b")) is None


def test_open_disk_writes_what_nobody_writes_and_reads_what_somebody_does(tmp_path):
    with open_disk(tmp_path, CAPACITY) as tier, open_disk(tmp_path / "other", CAPACITY) as other:
        assert (type(tier), type(other)) == (DiskTier, DiskTier)
    with child(obey, tmp_path, DiskTier) as (pipe, _):
        assert pipe.recv() == "open"
        with open_disk(tmp_path, CAPACITY) as reader:
            assert type(reader) is DiskReader


def test_a_directory_is_opened_once_in_a_process(tmp_path):
    with DiskTier(tmp_path, CAPACITY) as tier:
        for second in (lambda: DiskTier(tmp_path, CAPACITY), lambda: DiskReader(tmp_path)):
            with pytest.raises(TierUnavailable):
                second()
        assert tier.put(frames([key("a")])) == 1


def test_a_reader_never_gets_another_frame_while_segments_are_cleaned_under_it(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_MIN_SEGMENT_BYTES", 65_536)
    monkeypatch.setattr(disk, "_EXTRA_BYTES", 500_000)
    keys, got = prompt("a", 12), 0
    with child(obey, tmp_path, DiskTier, 300_000) as (pipe, _):
        assert pipe.recv() == "open"
        with DiskReader(tmp_path) as reader:
            for turn in range(150):
                some = [keys[turn * step % 12] for step in (3, 5, 7)]
                pipe.send(("put", [(each, frame(each, 20_000, version=turn % 7)) for each in some]))
                for each in keys:
                    view = reader.get(each)
                    assert view is None or view in [frame(each, 20_000, version) for version in range(7)]
                    got += view is not None
                pipe.recv()
            assert reader.quarantined() == {}
    assert got > 500


def test_a_reader_follows_an_index_that_grows_beyond_its_map(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_index, "_MAP_BYTES", 128 * 1024)
    with child(obey, tmp_path, DiskTier, 64 << 20) as (pipe, _):
        assert pipe.recv() == "open"
        with DiskReader(tmp_path) as reader:
            keys = prompt("a", 3000)
            pipe.send(("put", frames(keys, 10)))
            assert pipe.recv() == 3000
            assert (tmp_path / "index" / "data.mdb").stat().st_size > 256 * 1024
            assert reader.match(keys) == 3000
            assert reader.get(keys[-1]) == frame(keys[-1], 10)


def hold_a_transaction(pipe, path):
    with DiskReader(path) as reader, reader._index._env.reading() as transaction:
        assert transaction.stat()
        pipe.send("reading")
        pipe.recv()


def test_a_reader_that_dies_in_a_transaction_does_not_make_the_index_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_env, "_CHECK_READERS_EVERY_S", 0.0)
    keys = prompt("a", 20)
    with child(obey, tmp_path, DiskTier) as (pipe, _):
        assert pipe.recv() == "open"

        def puts(number):
            for _ in range(number):
                pipe.send(("put", frames(keys, 10)))
                assert pipe.recv() == 20
            return (tmp_path / "index" / "data.mdb").stat().st_size

        puts(20)
        with child(hold_a_transaction, tmp_path) as (reader, _):
            assert reader.recv() == "reading"
            puts(20)
        assert puts(200) <= puts(20)
        with DiskReader(tmp_path) as reader:
            assert reader.match(keys) == 20
            assert all(reader.get(each) == frame(each, 10) for each in keys)


def test_where_names_the_segment_file_and_the_byte(tmp_path):
    with DiskTier(tmp_path, 1 << 20) as tier:
        tier.put(frames([key("a"), key("b")]))
        (file,) = (tmp_path / "segments").iterdir()
        assert tier.where(key("a")) == f"segments/{file.name} at 0"
        assert tier.where(key("b")) == f"segments/{file.name} at 8192"
        tier.delete(key("a"))
        assert tier.where(key("a")) is None
