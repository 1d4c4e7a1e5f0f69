"""`kvstore show`: one chunk, found by the first digits of its key."""

from pathlib import Path

import pytest

from kvstore import ChunkKey, DiskReader, DiskTier
from tests.connectors.cli.conftest import SPECS, Run, json_of, keys_of


@pytest.fixture
def key(run: Run, store: Path) -> str:
    """The first chunk of acme/small."""
    chunks = json_of(run("ls", "--store", store, "--model", "small", "--json"))
    return next(chunk["key"] for chunk in chunks if chunk["start"] == 0)


def test_show_tells_what_the_frame_says(run: Run, store: Path, key: str):
    shown = json_of(run("show", key, "--store", store, "--json"))
    header, spec = shown["header"], SPECS["lossless"]
    assert (shown["key"], shown["problem"], shown["hits"]) == (key, None, 1)  # loaded once; saving is no hit
    assert (header["start"], header["end"], header["codec"]) == (0, 16, "lossless")
    assert header["spec"]["model"] == spec.model
    assert header["spec_fingerprint"] == spec.fingerprint()
    assert header["raw_bytes"] == 16 * spec.bytes_per_token
    assert 0 < sum(section["size_bytes"] for section in header["sections"].values()) < shown["size_bytes"]


def test_show_prints_it_for_people(run: Run, store: Path, key: str):
    text = run("show", key[:10].upper(), "--store", store).stdout
    for part in (key, "every checksum is right", "acme/small", "[0, 16)", "lossless {}", "times smaller", "leading"):
        assert part in text


def test_ambiguous_prefix_names_some_of_the_keys(run: Run, store: Path, key: str):
    twin = ChunkKey(bytes.fromhex(key)[:6] + bytes(26))
    with DiskTier(store, 1 << 20) as disk:
        disk.put([(twin, b"twin")])
    result = run("show", key[:8], "--store", store)
    assert result.exit_code == 2
    assert f"2 keys begin with '{key[:8]}', such as " in result.stderr
    assert "give more digits" in result.stderr
    digits = json_of(run("show", key, "--store", store, "--json"))["digits"]
    assert digits == key[: len(digits)]
    assert 12 < len(digits) < 20
    assert run("show", digits, "--store", store).exit_code == 0


def test_a_few_digits_are_no_key(run: Run, store: Path, key: str):
    result = run("show", key[:7], "--store", store)
    assert result.exit_code == 2
    assert "give 8 digits or more" in result.stderr


def test_unknown_key_points_to_ls(run: Run, store: Path):
    result = run("show", "nothexatall", "--store", store)
    assert result.exit_code == 2
    assert "no chunk has a key that begins with 'nothexatall'; `kvstore ls` lists those there are" in result.stderr


def test_show_names_tenant_neighbours_and_where_the_chunk_lives(run: Run, forked: Path):
    stem, fork, *_ = keys = keys_of("a")
    shown = json_of(run("show", fork, "--store", forked, "--json"))
    assert (shown["tenant"], shown["pinned"], shown["expires_at_s"]) == ("acme", False, None)
    assert (shown["parent"], shown["header"]["quality"]) == (str(stem), "exact")
    assert sorted(shown["children"]) == sorted([str(keys[2]), str(keys_of("b")[2])])
    assert shown["lives_in"] == f"disk {forked}"
    text = run("show", stem, "--store", forked).stdout
    for part in ("none: a prompt's first chunk", "1 held: ", f"disk {forked}", "acme", "never"):
        assert part in text


def test_damage_is_named_and_the_exit_code_is_1(run: Run, damaged: tuple[Path, list[ChunkKey]]):
    store, (flipped, garbage, misplaced) = damaged
    for key, problem in ((flipped, "is damaged: its checksum differs"), (garbage, "too few"), (misplaced, "is chunk")):
        result = run("show", key, "--store", store)
        assert result.exit_code == 1
        assert "DAMAGED" in result.stdout
        assert problem in result.stdout
        assert problem in json_of(run("show", key, "--store", store, "--json"))["problem"]
    assert "acme/" in run("show", flipped, "--store", store).stdout, "a header that is whole is shown"


def test_dropped_chunk_says_why_it_is_gone(run: Run, damaged: tuple[Path, list[ChunkKey]]):
    store, keys = damaged
    run("verify", "--repair", "--store", store)
    result = run("show", str(keys[1])[:12], "--store", store)
    assert result.exit_code == 2
    assert "was damaged and is dropped: " in result.stderr


def test_showing_changes_nothing(run: Run, store: Path, key: str):
    def entries() -> set:
        with DiskReader(store) as reader:
            return set(reader.entries())

    before = entries()
    run("show", key, "--store", store)
    assert entries() == before


def test_show_says_in_which_file_at_which_byte_a_record_begins(run: Run, store: Path, key: str):
    record = json_of(run("show", key, "--store", store, "--json"))["lies_in"]
    file, offset = record.split(" at ")
    header = (store / file).read_bytes()[int(offset) :][:48]
    assert header[:8] == b"KVRECORD"
    assert header[16:].hex() == key
    assert record in run("show", key, "--store", store).stdout
