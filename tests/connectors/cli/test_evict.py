"""`kvstore evict`, `pin` and `unpin`: what goes, what stays, and that it is only done when it is meant."""

import fcntl
from pathlib import Path

import pytest

from kvstore import DiskTier
from tests.connectors.cli.conftest import Run, entries_of, json_of, keys_of


def test_without_a_filter_nothing_goes_and_the_filters_are_named(run: Run, forked: Path):
    result = run("evict", "--store", forked)
    assert result.exit_code == 2
    for name in ("--tenant", "--model", "--prefix", "--unused-for", "--older-than", "--all"):
        assert name in result.stderr
    assert len(entries_of(forked)) == 8


@pytest.mark.parametrize(
    ("arguments", "num_left"),
    [
        (["--all"], 0),
        (["--tenant", "acme"], 2),
        (["--tenant", ""], 6),
        (["--model", "small"], 0),
        (["--model", "large"], 8),
        (["--unused-for", "7d"], 0),
        (["--older-than", "99999d"], 8),
        (["--tenant", "acme", "--model", "large"], 8),
    ],
)
def test_filters_choose_what_goes(run: Run, forked: Path, arguments: list[str], num_left: int):
    dry = json_of(run("evict", *arguments, "--dry-run", "--store", forked, "--json"))
    assert (dry["chunks"], dry["deleted"]) == (8 - num_left, False)
    assert len(entries_of(forked)) == 8
    done = json_of(run("evict", *arguments, "--store", forked, "--json"))
    assert (done["chunks"], done["size_bytes"], done["deleted"]) == (8 - num_left, dry["size_bytes"], num_left < 8)
    assert len(entries_of(forked)) == num_left


def test_a_chunk_goes_with_all_behind_it(run: Run, forked: Path):
    stem, fork, *_ = keys_of("a")
    result = run("evict", "--prefix", str(fork)[:10], "--store", forked)
    assert "5 chunks of " in result.stdout
    assert ": deleted" in result.stdout
    assert set(entries_of(forked)) == {stem, *keys_of("other")}


def test_pinned_chunks_and_those_before_them_stay_unless_told(run: Run, forked: Path):
    pinned = keys_of("b")[:3]
    assert "3 chunks of " in run("pin", str(pinned[-1])[:12], "--store", forked).stdout
    run("evict", "--all", "--store", forked)
    assert set(entries_of(forked)) == set(pinned)
    assert all(entry.pinned for entry in entries_of(forked).values())
    run("evict", "--all", "--pinned", "--store", forked)
    assert entries_of(forked) == {}


def test_unpinning_leaves_what_another_pin_needs(run: Run, forked: Path):
    a, b = keys_of("a"), keys_of("b")
    both = json_of(run("pin", a[2], b[3], "--store", forked, "--json"))
    assert set(both["pinned"]) == {str(key) for key in (*a[:3], *b[2:])}
    left = json_of(run("unpin", a[2], "--store", forked, "--json"))
    assert set(left["pinned"]) == {str(key) for key in b}
    assert json_of(run("unpin", b[0], "--store", forked, "--json"))["pinned"] == []


def test_what_cannot_be_reached_cannot_be_pinned(run: Run, forked: Path):
    keys = keys_of("a")
    with DiskTier(forked, 1 << 20) as disk:
        disk.delete(keys[0])
    result = run("pin", keys[2], "--store", forked)
    assert result.exit_code == 2
    assert "a chunk before it is not held" in result.stderr


def test_a_terminal_is_asked_and_no_means_no(run: Run, forked: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr("connectors.cli.evict._is_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda text, **_: asked.append(text))
    result = run("evict", "--tenant", "acme", "--store", forked)
    assert "Delete 6 chunks of " in asked[0]
    assert "nothing is deleted" in result.stdout
    assert len(entries_of(forked)) == 8
    run("evict", "--tenant", "acme", "--yes", "--store", forked)
    assert len(asked) == 1
    assert len(entries_of(forked)) == 2


@pytest.mark.parametrize("arguments", [["evict", "--all"], ["pin", "KEY"], ["unpin", "KEY"], ["import", "FILE"]])
def test_beside_a_writer_it_is_refused_and_says_what_to_do(run: Run, forked: Path, arguments: list[str]):
    run("export", "FILE", "--store", forked)
    with (forked / "writer.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [str(keys_of("a")[0]) if word == "KEY" else word for word in arguments]
        result = run(*command, "--store", forked)
    assert result.exit_code == 2
    assert "another process is writing" in result.stderr
    assert "stop it and run this again" in result.stderr
    assert len(entries_of(forked)) == 8


def test_a_misspelt_age_is_an_error_that_gives_an_example(run: Run, forked: Path):
    result = run("evict", "--unused-for", "a week", "--store", forked)
    assert result.exit_code == 2
    assert "such as 45s, 90min, 12h, 7d" in result.stderr
