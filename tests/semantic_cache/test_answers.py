"""Documents and the index over them, opened again: they agree, whatever became of either."""

import math
import shutil
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from kvstore import BlockingWriter, TierUnavailable
from semantic_cache import answers as answers_module
from semantic_cache.answers import open_answers
from semantic_cache.document_rows import DocumentRows
from semantic_cache.lmdb_documents import LmdbDocuments
from tests.kvstore.children import answer, child
from tests.semantic_cache.made_up import DIMENSION, document, vector
from tests.small_disk import small_disk_at

EMBEDDER = "embedder 1"


def opened(path, embedder=EMBEDDER, embed=None):
    return open_answers(path, embedder, DIMENSION, embed)


def put(answers, number, **terms):
    held = answers.documents.put(document(str(number), **terms), vector(number))
    answers.index.add(held.partition, held.id, vector(number))
    return held


def nearest(answers, number, **terms):
    """The text of what is found for it."""
    found = answers.index.search(document("", **terms).query.partition, vector(number), 1)
    document_found = answers.documents.get(found[0].id) if found else None
    return document_found.query.text if document_found else None


@contextmanager
def tables(answers):
    with answers.documents._file.env.reading() as transaction:
        yield DocumentRows(transaction, answers.documents._file.env.tables)


def change_row(answers, table, change):
    """The first row of a table, made something else."""

    def work(transaction):
        database = answers.documents._file.env.tables[table]
        with transaction.cursor(database) as cursor:
            assert cursor.first()
            key, row = bytes(cursor.key()), bytes(cursor.value())
        transaction.put(key, change(row), db=database)

    answers.documents._file.env.write(work)


def flipped(content, place=None):
    damaged = bytearray(content)
    damaged[len(damaged) // 2 if place is None else place] ^= 1
    return bytes(damaged)


@pytest.fixture
def filled(tmp_path):
    """Twenty answers, in two partitions."""
    path = tmp_path / "answers"
    with opened(path) as answers:
        for number in range(20):
            put(answers, number, tenant=str(number % 2))
    return path


def assert_agree(path, numbers=range(20)):
    with opened(path) as answers:
        assert len(answers.index) == len(list(answers.documents.held())) == len(numbers)
        assert [nearest(answers, number, tenant=str(number % 2)) for number in numbers] == list(map(str, numbers))


def test_answers_are_found_after_a_restart(filled):
    assert_agree(filled)


def test_an_index_that_changed_nothing_is_not_written_again(filled):
    before = (filled / "index").stat().st_mtime_ns
    assert_agree(filled)
    assert (filled / "index").stat().st_mtime_ns == before


DAMAGE = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "garbage": lambda content: b"\xa5" * len(content),
    "half": lambda content: content[: len(content) // 2],
    "a byte short": lambda content: content[:-1],
    "a bit at its start": lambda content: flipped(content, 0),
    "a bit in the middle": flipped,
    "a bit at its end": lambda content: flipped(content, -1),
    "a bit in its head": lambda content: flipped(content, -60),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_built_anew(filled, damage):
    file = filled / "index"
    damaged = damage(file.read_bytes())
    file.unlink() if damaged is None else file.write_bytes(damaged)
    assert_agree(filled)
    assert len(file.read_bytes()) > 1000
    assert_agree(filled)


def test_a_graph_is_saved_and_its_file_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(answers_module, "HnswIndex", lambda *all_of, **named: HNSW(*all_of, **named, most_flat=10))
    with opened(tmp_path) as answers:
        for number in range(40):
            put(answers, number)
        assert answers.settled(60)
        answers.index.remove(document("").query.partition, [3])
        answers.documents.delete([3])
    others = [number for number in range(40) if number != 3]
    for place in (None, 200, -1):
        with opened(tmp_path) as answers:
            assert answers.settled(60)
            assert [contents.graph is not None for contents in answers.index.contents()] == [True]
            assert len(answers.index) == 39
            assert sum(nearest(answers, number) == str(number) for number in others) >= 38
            assert nearest(answers, 3) != "3"
        content = (tmp_path / "index").read_bytes()
        (tmp_path / "index").write_bytes(content if place is None else flipped(content, place))


HNSW = answers_module.HnswIndex


def test_an_index_of_other_documents_is_not_used(tmp_path, filled):
    with opened(tmp_path / "other") as answers:
        for number in range(100, 120):
            put(answers, number, tenant=str(number % 2))
    shutil.copy(tmp_path / "other" / "index", filled / "index")
    assert_agree(filled)


def test_an_index_that_knows_ids_to_come_is_not_used(filled):
    shutil.copytree(filled, filled.with_name("earlier"))
    with opened(filled) as answers:
        put(answers, 99)
    shutil.copy(filled / "index", filled.with_name("earlier") / "index")
    with opened(filled.with_name("earlier")) as answers:
        put(answers, 50)
        assert nearest(answers, 50) == "50"
    with opened(filled.with_name("earlier")) as answers:
        assert len(answers.index) == 21
        assert nearest(answers, 99) == "50"


def test_what_was_put_or_deleted_since_the_index_was_saved_is_made_good(filled):
    saved = (filled / "index").read_bytes()
    with opened(filled) as answers:
        answers.documents.delete([0, 1, 2])
        put(answers, 20, tenant="0")
    (filled / "index").write_bytes(saved)
    assert_agree(filled, range(3, 21))


def test_a_document_that_is_missing_is_not_in_the_index_after_the_next_opening(filled):
    with opened(filled) as answers:
        answers.documents.delete([5])
        assert nearest(answers, 5, tenant="1") is None
    assert_agree(filled, [number for number in range(20) if number != 5])


def test_a_document_that_the_index_misses_is_added_at_the_next_opening(filled):
    with opened(filled) as answers:
        answers.documents.put(document("20", tenant="0"), vector(20))
        assert nearest(answers, 20, tenant="0") != "20"
    assert_agree(filled, range(21))


def test_deleted_and_expired_answers_leave_both(filled):
    with opened(filled) as answers:
        held = put(answers, 20, expires_at_s=5.0)
        assert [each.id for each in answers.documents.expired(5.0)] == [held.id]
        gone = [held.id, 7]
        answers.documents.delete(gone)
        answers.index.remove(held.partition, [held.id])
        answers.index.remove(document("", tenant="1").query.partition, [7])
        with tables(answers) as rows:
            for each in gone:
                assert rows.record(each) is rows.held(each) is rows.vector(each, answers.documents._embedder) is None
            assert rows.find(held.exact_key) is None
            assert rows.expired(math.inf) == []
            assert [each for each, _ in rows.held_from(0, 100)] == [*range(7), *range(8, 20)]
    content = (filled / "index").read_bytes()
    with opened(filled) as answers:
        assert sorted(np.concatenate([each.ids() for each in answers.index.contents()])) == [*range(7), *range(8, 20)]
        assert answers._saving._num_saved == 0, "the file has nothing else"
    assert (filled / "index").read_bytes() == content
    assert_agree(filled, [*range(7), *range(8, 20)])


@pytest.mark.parametrize("damage", [flipped, lambda row: row[:-1], lambda row: b"", lambda row: b"\xa5" * len(row)])
@pytest.mark.parametrize("table", [b"documents", b"held", b"exact", b"vectors"])
def test_a_damaged_row_is_a_miss_and_is_dropped_and_counted(filled, table, damage):
    with opened(filled) as answers:
        change_row(answers, table, damage)
    (filled / "index").unlink()
    with opened(filled) as answers:
        found = [answers.documents.find(document(str(n), tenant=str(n % 2)).query.exact_key) for n in range(20)]
        got = [None if each is None else answers.documents.get(each) for each in found]
        list(answers.documents.held())
        for number, each in enumerate(got):
            assert each is None or each == document(str(number), tenant=str(number % 2))
        if table == b"exact":
            assert found.count(None) == 1
        else:
            assert answers.documents.num_damaged == 1
            assert answers.documents.get(0) is None
            assert len(list(answers.documents.held())) == 19
        assert all(
            nearest(answers, number, tenant=str(number % 2)) == str(number) for number in range(20) if found[number]
        )
    with opened(filled) as answers:
        assert answers.documents.num_damaged == 0
        if table != b"exact":
            with tables(answers) as rows:
                assert [each for each, _ in rows.held_from(0, 100)] == list(range(1, 20))
                assert rows.find(document("0", tenant="0").query.exact_key) is None


def test_vectors_of_another_embedder_are_embedded_again(filled):
    def embed(texts):
        return np.stack([vector(int(text) + 1000) for text in texts])

    with opened(filled, "embedder 2", embed) as answers:
        assert answers.settled(30)
        assert len(answers.index) == 20
        for number in range(20):
            found = answers.index.search(document("", tenant=str(number % 2)).query.partition, vector(number + 1000), 1)
            assert answers.documents.get(found[0].id).query.text == str(number)
            assert found[0].cosine > 0.99
    with opened(filled, "embedder 2") as answers:
        assert len(answers.index) == 20
    with opened(filled) as answers:
        assert len(answers.index) == 0


def test_without_a_way_to_embed_them_again_they_are_found_by_their_exact_key_alone(filled):
    with opened(filled, "embedder 2") as answers:
        assert len(answers.index) == 0
        found = answers.documents.find(document("3", tenant="1").query.exact_key)
        assert answers.documents.get(found).query.text == "3"
        put(answers, 77)
    with opened(filled, "embedder 2") as answers:
        assert len(answers.index) == 1
    assert_agree_with_one_more(filled)


def assert_agree_with_one_more(path):
    with opened(path) as answers:
        assert len(answers.index) == 20
        assert len(list(answers.documents.held())) == 21


def test_a_second_writer_is_declined(filled):
    with opened(filled) as answers:
        assert isinstance(answer(opened, filled), BlockingWriter)
        with pytest.raises(BlockingWriter):
            opened(filled)
        assert nearest(answers, 3, tenant="1") == "3"


def test_use_after_a_fork_is_unavailable_in_the_child_only(filled):
    with opened(filled) as answers:
        assert isinstance(answer(answers.documents.get, 1), TierUnavailable)
        assert isinstance(answer(put, answers, 50), TierUnavailable)
        assert put(answers, 20, tenant="0").id == 20
    assert_agree(filled, range(21))


@pytest.mark.parametrize("damage", [lambda data: b"\xa5" * len(data), lambda data: data[: len(data) // 2], flipped])
def test_damaged_documents_are_set_aside_with_their_index(filled, damage, caplog):
    file = filled / "documents" / "data.mdb"
    file.write_bytes(damage(file.read_bytes()))
    with opened(filled) as answers:
        assert len(answers.index) == len(list(answers.documents.held())) == 0
        put(answers, 1, tenant="1")
    (aside,) = filled.glob("documents.damaged-*")
    assert aside.name in caplog.text
    assert_agree(filled, [1])


def test_ids_are_not_given_again_after_a_restart(tmp_path):
    last = -1
    for number in range(4):
        with LmdbDocuments(tmp_path, EMBEDDER, DIMENSION) as documents:
            held = documents.put(document(str(number)), None)
            assert held.id > last
            last = held.id
            documents.delete([held.id])


def put_for_ever(pipe, path, first):
    with opened(path) as answers:
        answers._saving.save(answers.index)
        for number in range(first, first + 10**6):
            held = put(answers, number, expires_at_s=float(number))
            if number % 3 == 0:
                answers.documents.delete([held.id])
                answers.index.remove(held.partition, [held.id])
            pipe.send(number)


def test_a_killed_process_loses_nothing_it_acknowledged_and_everything_agrees(tmp_path):
    acknowledged = []
    for run in range(4):
        with child(put_for_ever, tmp_path, run * 10**6) as (pipe, process), suppress(EOFError):
            acknowledged.append(pipe.recv())
            time.sleep(0.02 * run)
            process.kill()
            process.join()
            while True:
                acknowledged.append(pipe.recv())
        with opened(tmp_path) as answers:
            held = {each.id for each in answers.documents.held()}
            texts = {answers.documents.get(each).query.text for each in held}
            assert {str(number) for number in acknowledged if number % 3} <= texts
            assert not {str(number) for number in acknowledged if number % 3 == 0} & texts
            assert {each.id for each in answers.documents.expired(math.inf)} == held
            assert {each.id for each, _ in answers.documents.vectors()} == held
            assert {each for contents in answers.index.contents() for each in contents.ids().tolist()} == held
            assert answers.documents.num_damaged == 0


@pytest.fixture
def small_disk(tmp_path):
    with small_disk_at(tmp_path / "small") as path:
        yield path


def test_a_full_disk_declines_reads_on_and_writes_again_once_there_is_space(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    kept = []
    with opened(small_disk / "answers") as answers:
        with suppress(TierUnavailable):
            for number in range(1000):
                put(answers, number, response=bytes(100_000))
                kept.append(number)
        assert 0 < len(kept) < 1000
        assert [nearest(answers, number) for number in kept] == list(map(str, kept))
        ballast.unlink()
        put(answers, 5000)
        kept.append(5000)
    with opened(small_disk / "answers") as answers:
        assert len(answers.index) == len(kept)
        assert [nearest(answers, number) for number in kept] == list(map(str, kept))
