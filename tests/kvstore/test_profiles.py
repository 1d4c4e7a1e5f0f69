"""A store's tiers keep the profile that its frames need: a copy of the directory is all that a reader needs."""

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from codec import CorruptFrame, Lossless, MissingProfile, Transform, codec_from, encode_chunk
from kvstore import DiskTier, KVStore, MemoryTier, Tiers, codec_in, profile_in, profile_named
from tests.codec.calibrated import movable, profile_for
from tests.codec.forgetting import forgetting
from tests.kv import SPEC, bits, kv_of_numbers

MODEL = movable(SPEC)
PROFILE = profile_for(MODEL)
PARAMS = {"profile": PROFILE.fingerprint, "quality": "high"}
KV = kv_of_numbers(MODEL, 12)
NEW_PROCESS = """
import sys
from pathlib import Path
from kvstore import DiskReader, KVStore, codec_in
from tests.kvstore.test_profiles import MODEL
from tests.kv import bits
from codec import profiles, registry
profiles._REGISTERED.clear(), registry._codec.cache_clear()  # the test's own module has registered it

reader = DiskReader(sys.argv[1])
(fingerprint,) = reader.profiles()
store = KVStore([reader], codec_in(reader, "transform", {"profile": fingerprint, "quality": "high"}), 4)
loaded = store.load(store.match(store.identity(MODEL), range(12)))
Path(sys.argv[2]).write_bytes(b"".join(bits(loaded)))
"""


def file_in(path):
    return path / "profiles" / f"{PROFILE.fingerprint}.safetensors"


def saved(tiers):
    store = KVStore(tiers, codec_from("transform", PARAMS), 4)
    assert store.save(store.identity(MODEL), range(12), KV).saved == 3
    return store


def loaded(store):
    return store.load(store.match(store.identity(MODEL), range(12)))


def test_a_copied_directory_decodes_in_a_new_process(tmp_path):
    with saved([MemoryTier(1 << 20), DiskTier(tmp_path / "store", 1 << 20)]) as store:
        expected = b"".join(bits(loaded(store)))
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    shutil.rmtree(tmp_path / "store")
    command = [sys.executable, "-c", NEW_PROCESS, tmp_path / "copy", tmp_path / "loaded"]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "loaded").read_bytes() == expected


def test_the_profile_is_there_before_the_first_frame_and_not_before(tmp_path):
    with DiskTier(tmp_path, 1 << 20) as disk:
        KVStore([disk], codec_from("transform", PARAMS), 4)
        assert disk.profiles() == []
        saved([disk])
        assert disk.profiles() == [PROFILE.fingerprint]
        assert file_in(tmp_path).read_bytes() == PROFILE.content


def test_a_lossless_store_keeps_none(tmp_path):
    with KVStore([DiskTier(tmp_path, 1 << 20)], Lossless(), 4) as store:
        store.save(store.identity(MODEL), range(12), KV)
        assert store.tier.profiles() == []
    assert not (tmp_path / "profiles").exists()


def test_a_store_in_memory_alone_works_as_ever():
    with saved([MemoryTier(1 << 20)]) as store:
        assert loaded(store).num_tokens == 12
        assert store.tier.profiles() == []


def test_a_frame_met_by_who_lacks_its_profile_is_decoded_with_the_stores_own(tmp_path):
    with saved([DiskTier(tmp_path, 1 << 20)]) as store:
        expected = bits(loaded(store))
        with forgetting():
            assert bits(loaded(store)) == expected


def test_a_chunk_whose_profile_is_gone_is_a_miss_and_counted_and_left_alone(tmp_path, caplog):
    with saved([DiskTier(tmp_path, 1 << 20)]) as store:
        expected = bits(loaded(store))
        file_in(tmp_path).unlink()
        with forgetting():
            assert loaded(store) is None
        counted = store.metrics.snapshot()
        assert (counted["profiles_missing"], counted["chunks_corrupt"]) == (1, 0)
        assert PROFILE.fingerprint[:12] in caplog.text
        assert bits(loaded(store)) == expected, "once the profile is back, so are the chunks"


def test_a_damaged_profile_is_a_miss_and_the_log_names_its_file(tmp_path, caplog):
    with saved([DiskTier(tmp_path, 1 << 20)]) as store:
        content = bytearray(PROFILE.content)
        content[len(content) // 2] ^= 1
        file_in(tmp_path).write_bytes(content)
        with forgetting():
            assert loaded(store) is None
        assert str(file_in(tmp_path)) in caplog.text


def test_a_damaged_copy_in_one_tier_does_not_hide_the_whole_one_in_another(tmp_path):
    with DiskTier(tmp_path / "a", 1 << 20) as first, DiskTier(tmp_path / "b", 1 << 20) as second:
        saved([first, second])
        file_in(tmp_path / "a").write_bytes(b"damaged")
        assert Tiers([first, second]).profile(PROFILE.fingerprint) == PROFILE.content
        assert Tiers([first, second]).profiles() == [PROFILE.fingerprint]
        file_in(tmp_path / "b").unlink()
        with pytest.raises(MissingProfile, match="is damaged"):
            Tiers([first, second]).profile(PROFILE.fingerprint)


@pytest.mark.parametrize("content", [b"no frame at all", bytes(encode_chunk(Lossless(), KV, "0" * 64, 0))])
def test_a_file_that_is_no_profile_is_none_though_its_name_is_right(content, tmp_path):
    fingerprint = sha256(content).hexdigest()
    with DiskTier(tmp_path, 1 << 20) as disk:
        disk.keep_profile(fingerprint, content)
        with pytest.raises(MissingProfile, match="is of no use"):
            profile_in(disk, fingerprint)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "0" * 64, "Z" * 64])
def test_a_frame_that_names_no_profile_at_all_is_a_missing_profile(name, tmp_path):
    with DiskTier(tmp_path, 1 << 20) as disk, pytest.raises(MissingProfile):
        codec_in(disk, "transform", {"profile": name, "quality": "high"})


def test_only_transform_names_profiles():
    assert profile_named("transform", PARAMS) == PROFILE.fingerprint
    assert profile_named("transform", {"profile": 7}) is None
    assert profile_named("somebody-elses", {"profile": "mine"}) is None
    with pytest.raises(CorruptFrame):
        codec_in(MemoryTier(1), "transform", {"profile": 7})


def test_a_codec_whose_profile_nobody_registered_is_refused_at_once():
    codec = Transform(PROFILE)
    with forgetting(), pytest.raises(MissingProfile, match="register it"):
        KVStore([MemoryTier(1)], codec)


def test_a_disk_that_cannot_keep_the_profile_is_asked_again(tmp_path):
    with DiskTier(tmp_path, 1 << 20) as disk:
        (tmp_path / "profiles").write_text("in the way")
        store = KVStore([disk], codec_from("transform", PARAMS), 4)
        store.save(store.identity(MODEL), range(4), KV.tokens(0, 4))
        assert store.metrics.snapshot()["tier_unavailable"] >= 1
        (tmp_path / "profiles").unlink()
        store.save(store.identity(MODEL), range(8), KV.tokens(0, 8))
        assert disk.profiles() == [PROFILE.fingerprint]


def test_a_profile_is_kept_once_for_chunks_of_all_lengths(tmp_path, monkeypatch):
    kept = []
    with KVStore([DiskTier(tmp_path, 1 << 20)], codec_from("transform", PARAMS)) as store:
        keep = store.tier.keep_profile
        monkeypatch.setattr(store.tier, "keep_profile", lambda *profile: kept.append(profile) or keep(*profile))
        for length in (4, 7):
            other = store.in_chunks_of(length)
            other.save(other.identity(MODEL), list(range(length)), KV.tokens(0, length))
    assert len(kept) == 1
