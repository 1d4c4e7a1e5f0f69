"""Profiles of a store, looked at by `show`, `du` and `verify`."""

from pathlib import Path

import pytest

from codec import codec_from
from kvstore import DiskReader, DiskTier, KVStore
from tests.codec.calibrated import movable, profile_for
from tests.connectors.cli.conftest import CHUNK_TOKENS, Run, json_of
from tests.kv import SPEC, kv_of_numbers

MODEL = movable(SPEC)
PROFILE = profile_for(MODEL)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two chunks of `transform`, with their profile."""
    codec = codec_from("transform", {"profile": PROFILE.fingerprint, "quality": "high"})
    with KVStore([DiskTier(tmp_path / "coded", 1 << 20)], codec, CHUNK_TOKENS) as store:
        store.save(store.identity(MODEL), range(2 * CHUNK_TOKENS), kv_of_numbers(MODEL, 2 * CHUNK_TOKENS))
    return tmp_path / "coded"


@pytest.fixture
def file(store: Path) -> Path:
    return store / "profiles" / f"{PROFILE.fingerprint}.safetensors"


def test_show_names_the_profile_of_a_frame(run: Run, store: Path, file: Path):
    key = json_of(run("ls", "--store", store, "--json"))[0]["key"]
    assert f"{PROFILE.fingerprint}, held here" in run("show", key, "--store", store).stdout
    file.unlink()
    shown = json_of(run("show", key, "--store", store, "--json"))
    assert shown["problem"] is None
    assert shown["profile"] == {"fingerprint": PROFILE.fingerprint, "problem": "this store does not hold it"}
    file.write_bytes(b"damaged")
    assert "is damaged" in run("show", key, "--store", store).stdout


def test_du_counts_profiles_in_its_total(run: Run, store: Path):
    shown = json_of(run("du", "--store", store, "--json"))
    frame_bytes = sum(used["size_bytes"] for used in shown["usage"])
    assert shown["profiles"] == [PROFILE.fingerprint]
    assert shown["profile_bytes"] == len(PROFILE.content)
    assert shown["size_bytes"] == frame_bytes + len(PROFILE.content)
    files = [*store.glob("index/data.mdb"), *store.glob("segments/*")]
    assert shown["file_bytes"] == sum(file.stat().st_size for file in files) + len(PROFILE.content)
    assert ", 1 profile of " in run("du", "--store", store).stdout


def test_verify_checks_profiles_and_repair_drops_the_damaged_ones(run: Run, store: Path, file: Path):
    assert "1 profile is whole" in run("verify", "--store", store).stdout
    file.write_bytes(PROFILE.content[:-1])
    result = run("verify", "--store", store, "--json")
    assert result.exit_code == 1
    (damaged,) = json_of(result)["damaged_profiles"]
    assert (damaged["fingerprint"], damaged["dropped"]) == (PROFILE.fingerprint, False)
    assert file.exists()
    assert "would be dropped by --repair" in run("verify", "--store", store).stdout
    assert run("verify", "--repair", "--store", store).exit_code == 1
    assert not file.exists()
    with DiskReader(store) as reader:
        assert len(list(reader.entries())) == 2, "frames that lost their profile are whole"
    again = run("verify", "--store", store)
    assert again.exit_code == 0
    assert f"Whole frames name profiles that are not here: {PROFILE.fingerprint}" in again.stdout


def test_a_file_that_is_no_profile_is_none_of_our_business(run: Run, store: Path, file: Path):
    (file.parent / "notes.txt").write_text("mine")
    assert run("verify", "--repair", "--store", store).exit_code == 0
    assert (file.parent / "notes.txt").exists()
    assert json_of(run("du", "--store", store, "--json"))["profile_bytes"] == len(PROFILE.content)
