"""Which codec a store codes with: the one named always, and under `auto` transform where its profile is at hand."""

import logging
from dataclasses import replace

import pytest

from codec import KVSpec, Lossless, MissingProfile, SpecMismatch, register
from connectors.codec_choice import choose_codec, profile_at_hand, profile_path
from kvstore import DiskTier, NoTier
from tests.codec.calibrated import movable, profile_for
from tests.codec.forgetting import forgetting
from tests.kv import SPEC

MODEL = movable(SPEC)
PROFILE = profile_for(MODEL)
NEWER = register(replace(PROFILE, levels={"balanced": 0.25}))
OTHER_WEIGHTS = replace(MODEL, revision="1" * 40)
OTHER_LAYERS = replace(MODEL, groups=(replace(MODEL.groups[0], layers=(0, 1, 2)),))


def choose(directory, *, name="auto", file=None, spec=MODEL, store=None):
    return choose_codec(name, "balanced", file, directory, spec, store or NoTier())


@pytest.fixture
def directory(tmp_path):
    """With the profile of MODEL."""
    PROFILE.save(profile_path(tmp_path, MODEL))
    return tmp_path


def test_auto_takes_the_profile_of_exactly_these_weights(directory):
    assert choose(directory).params() == {"profile": PROFILE.fingerprint, "quality": "balanced"}
    for stranger in (OTHER_WEIGHTS, replace(MODEL, dtype="float32"), OTHER_LAYERS, None):
        assert choose(directory, spec=stranger).id == Lossless.id


def test_a_codec_that_is_named_always_wins(directory):
    assert choose(directory, name="int8").id == "int8"
    assert choose(directory, name="lossless").id == "lossless"
    assert choose(directory, name="transform").params()["profile"] == PROFILE.fingerprint


def test_a_file_that_is_named_serves_any_weights_with_these_layers(tmp_path):
    PROFILE.save(tmp_path / "mine")
    codec = choose(tmp_path / "none", file=tmp_path / "mine", spec=OTHER_WEIGHTS)
    assert codec.params()["profile"] == PROFILE.fingerprint


def test_a_file_of_another_models_layers_is_refused_or_under_auto_left_out(tmp_path, caplog):
    PROFILE.save(tmp_path / "mine")
    assert choose(None, file=tmp_path / "mine", spec=OTHER_LAYERS).id == Lossless.id
    assert "does not fit" in caplog.text
    with pytest.raises(SpecMismatch):
        choose(None, name="transform", file=tmp_path / "mine", spec=OTHER_LAYERS)


@pytest.mark.parametrize("name", ["auto", "transform"])
def test_a_file_that_is_named_and_not_there_is_an_error(name, tmp_path):
    with pytest.raises(MissingProfile, match="no profile at"):
        choose(tmp_path, name=name, file=tmp_path / "nothing")


def test_transform_without_a_profile_says_where_it_looked(tmp_path):
    with pytest.raises(MissingProfile, match=f"needs store.profile, or one of tests/tiny in {tmp_path}"):
        choose(tmp_path, name="transform")


def test_a_damaged_profile_is_none_at_hand(directory, caplog):
    profile_path(directory, MODEL).write_bytes(PROFILE.content[:-1])
    with caplog.at_level(logging.WARNING):
        assert choose(directory).id == Lossless.id
    assert str(profile_path(directory, MODEL)) in caplog.text


def test_another_models_profile_under_this_models_name_is_none_at_hand(directory):
    profile_path(directory, MODEL).rename(profile_path(directory, OTHER_WEIGHTS))
    assert profile_at_hand(directory, OTHER_WEIGHTS) is None


def test_a_stores_own_profile_is_at_hand_behind_the_directorys(directory, tmp_path):
    with DiskTier(tmp_path / "store", 1 << 20) as store:
        store.keep_profile(NEWER.fingerprint, NEWER.content)
        assert choose(directory, store=store).params()["profile"] == PROFILE.fingerprint
        with forgetting():
            assert choose(tmp_path / "none", store=store).params()["profile"] == NEWER.fingerprint
        assert choose(tmp_path / "none", store=store, spec=OTHER_WEIGHTS).id == Lossless.id


def test_a_damaged_profile_of_the_store_is_left_out(tmp_path, caplog):
    with DiskTier(tmp_path, 1 << 20) as store:
        store.keep_profile(PROFILE.fingerprint, PROFILE.content)
        (tmp_path / "profiles" / f"{PROFILE.fingerprint}.safetensors").write_bytes(b"")
        with forgetting():
            assert choose(None, store=store).id == Lossless.id
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("model", ["org/name", "../../etc", "a b\0c", "", "x" * 500, "модель"])
def test_any_models_name_makes_a_file_in_the_directory(model, tmp_path):
    path = profile_path(tmp_path, KVSpec(model, "r", "float32", MODEL.groups))
    assert path.parent == tmp_path
    path.touch()
