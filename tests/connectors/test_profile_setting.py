"""Codec `transform` through the settings: a profile file, a quality, a store that codes with them."""

import pytest

from codec import MissingProfile
from connectors.settings import build_store, load_settings
from tests.codec.calibrated import movable, profile_for
from tests.kv import SPEC, kv_of_numbers


def settings(tmp_path, **more):
    given = {"PATH": str(tmp_path / "store"), "CODEC": "transform", "CHUNK_TOKENS": "16", **more}
    return load_settings(environ={f"KVSTORE_STORE_{name}": value for name, value in given.items()})


def test_a_store_codes_with_the_profile_of_its_settings(tmp_path):
    spec = movable(SPEC)
    profile = profile_for(spec)
    profile.save(tmp_path / "model.profile")
    chosen = settings(tmp_path, PROFILE=str(tmp_path / "model.profile"), QUALITY="high")
    with build_store(chosen) as store:
        identity = store.identity(spec)
        store.save(identity, range(32), kv_of_numbers(spec, 32))
    with build_store(chosen) as store:
        assert store.codec.params() == {"profile": profile.fingerprint, "quality": "high"}
        assert store.load(store.match(identity, range(32))).num_tokens == 32


@pytest.mark.parametrize(("profile", "says"), [("", "needs store.profile"), ("nowhere.profile", "no profile at")])
def test_without_a_profile_the_store_says_what_to_do(profile, says, tmp_path):
    with pytest.raises(MissingProfile, match=says):
        build_store(settings(tmp_path, PROFILE=profile))


def test_a_profile_in_a_file_is_seen_from_that_file(tmp_path):
    file = tmp_path / "kvstore.toml"
    file.write_text('[store]\nprofile = "model.profile"\n')
    assert load_settings(file, environ={}).store.profile == str(tmp_path / "model.profile")
