"""`kvstore verify`: finds every damaged frame, and with --repair drops those and nothing else."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvstore import ChunkKey, DiskReader, DiskTier
from tests.connectors.cli.conftest import Run, json_of, keys_of


@pytest.fixture
def writer(store: Path) -> Iterator[None]:
    """Another process that saves and evicts in the store all the while."""
    command = [sys.executable, "-m", "tests.connectors.cli.writer", str(store)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        yield
        assert process.poll() is None, "the writer wrote to the end"
        process.stdin.close()
        process.stdout.read()
    assert process.returncode == 0


def held(store: Path) -> set[ChunkKey]:
    with DiskReader(store) as reader:
        return {entry.key for entry in reader.entries()}


def test_whole_store_verifies(run: Run, store: Path):
    result = run("verify", "--store", store)
    assert result.exit_code == 0
    assert "6 frames of " in result.stdout
    with DiskReader(store) as reader:
        size_bytes = reader.size_bytes
    shown = json_of(run("verify", "--store", store, "--json"))
    no_profiles = {"profiles": 0, "damaged_profiles": [], "absent_profiles": []}
    whole = {"whole": 6, "whole_bytes": size_bytes, "unreachable": 0}
    assert shown == {**whole, "damaged": [], "quarantined": [], **no_profiles}


def test_damaged_frames_are_listed_and_left_alone(run: Run, damaged: tuple[Path, list[ChunkKey]]):
    store, keys = damaged
    before = held(store)
    result = run("verify", "--store", store, "--json")
    shown = json_of(result)
    assert (result.exit_code, shown["whole"]) == (1, 3)
    assert {bad["key"] for bad in shown["damaged"]} == {str(key) for key in keys}
    assert not any(bad["dropped"] for bad in shown["damaged"])
    text = run("verify", "--store", store).stdout
    assert "3 are damaged and would be dropped by --repair:" in text
    assert all(str(key)[:12] in text for key in keys)
    assert held(store) == before


def test_repair_drops_the_damaged_frames_and_nothing_else(run: Run, damaged: tuple[Path, list[ChunkKey]]):
    store, keys = damaged
    before = held(store)
    result = run("verify", "--repair", "--store", store)
    assert result.exit_code == 1
    assert "3 are damaged and are dropped:" in result.stdout
    assert held(store) == before - set(keys)
    again = run("verify", "--store", store, "--json")
    assert again.exit_code == 0
    assert {note["key"] for note in json_of(again)["quarantined"]} == {str(key) for key in keys}
    assert "3 were damaged and dropped earlier:" in run("verify", "--store", store).stdout


def test_a_frame_whose_place_in_the_index_is_wrong_is_damaged(run: Run, forked: Path):
    first, other = keys_of("a"), keys_of("other")
    with DiskTier(forked, 1 << 20) as disk:
        disk.put([(first[3], disk.get(first[3]))], prefix=[other[0]])
    (bad,) = json_of(run("verify", "--store", forked, "--json"))["damaged"]
    assert bad["key"] == str(first[3])
    assert "does not continue the chunk" in bad["problem"]


def test_whole_frames_behind_a_gap_are_counted_and_kept(run: Run, forked: Path):
    with DiskTier(forked, 1 << 20) as disk:
        disk.delete(keys_of("a")[1])
    result = run("verify", "--repair", "--store", forked, "--json")
    shown = json_of(result)
    assert (result.exit_code, shown["whole"], shown["unreachable"]) == (0, 7, 4)
    assert "4 whole ones lie behind chunks that are gone" in run("verify", "--store", forked).stdout
    assert len(held(forked)) == 7


def test_repair_evicts_nothing_when_the_budget_was_lowered(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KVSTORE_DISK_CAPACITY_BYTES", "1")
    before = held(store)
    assert run("verify", "--repair", "--store", store).exit_code == 0
    assert held(store) == before


def test_repair_beside_a_writer_is_refused_and_says_what_to_do(run: Run, store: Path, writer: None):
    result = run("verify", "--repair", "--store", store)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "another process is writing" in result.stderr
    assert "stop it and run this again" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_reading_commands_work_while_another_process_writes(run: Run, store: Path, writer: None):
    for _ in range(5):
        verdict = run("verify", "--store", store, "--json")
        assert verdict.exit_code == 0
        assert json_of(verdict)["damaged"] == []
        chunks = json_of(run("ls", "--store", store, "--json"))
        assert chunks
        assert not any(chunk["damaged"] for chunk in chunks)
        assert run("show", chunks[-1]["key"], "--store", store).exit_code in (0, 2), "2: evicted meanwhile"
        assert json_of(run("du", "--store", store, "--json"))["size_bytes"] <= 1 << 20


def test_damage_that_the_tier_itself_finds_is_listed_and_repaired(run: Run, store: Path):
    segment = min((store / "segments").iterdir())
    data = bytearray(segment.read_bytes())
    data[4096 + 10] ^= 1
    segment.write_bytes(data)
    for options in ([], ["--repair"]):
        result = run("verify", *options, "--store", store, "--json")
        shown = json_of(result)
        assert (result.exit_code, shown["whole"]) == (1, 5)
        assert [bad["problem"] for bad in shown["damaged"]] == ["its record on disk is damaged"]
    assert run("verify", "--store", store).exit_code == 0
    assert len(held(store)) == 5
