"""The three lines a user writes: settings, a model, `generate`."""

import shutil

import pytest
import torch

from connectors.codec_choice import profile_path
from connectors.hf import CachedModel
from connectors.hf.calibrate import calibrate
from connectors.settings import load_settings
from tests.codec.forgetting import forgetting
from tests.connectors.hf.steps import GREEDY, two_steps
from tests.connectors.hf.tiny import prompt, tiny_model


def test_a_store_from_settings_is_found_again_after_closing(tmp_path):
    environ = {"KVSTORE_STORE_PATH": str(tmp_path / "store"), "KVSTORE_STORE_CHUNK_TOKENS": "8"}
    settings = load_settings(environ=environ)
    model, context = tiny_model("llama"), prompt(40)
    whole = torch.cat([context, prompt(9, seed=2)], dim=1)
    with CachedModel.open(model, settings) as cached:
        cached.generate(context, max_new_tokens=1)
    with CachedModel.open(model, settings) as cached:
        assert torch.equal(cached.generate(whole, **GREEDY), two_steps(model, context, whole))
        assert cached.store.metrics.snapshot()["tokens_loaded"] == 40


def test_the_tenant_of_the_settings_is_used(tmp_path):
    model, context = tiny_model("llama"), prompt(40)
    for tenant in ("a", "b"):
        environ = {
            "KVSTORE_STORE_PATH": str(tmp_path / "store"),
            "KVSTORE_STORE_CHUNK_TOKENS": "8",
            "KVSTORE_STORE_TENANT": tenant,
        }
        with CachedModel.open(model, load_settings(environ=environ)) as cached:
            cached.generate(context, max_new_tokens=1)
            assert cached.store.metrics.snapshot()["tokens_loaded"] == 0


@pytest.fixture(scope="module")
def profile():
    """Of the tiny model of this file's tests."""
    texts = [prompt(64, seed) for seed in range(3)]
    return calibrate(tiny_model("llama"), texts[:2], texts[2:], lambda _: None)[0]


def settings_in(path, **more):
    given = {"PATH": str(path / "store"), "CHUNK_TOKENS": "8", "PROFILE_DIRECTORY": str(path / "profiles"), **more}
    return load_settings(environ={f"KVSTORE_STORE_{name}": value for name, value in given.items()})


@pytest.fixture
def at_hand(tmp_path, profile):
    """A directory with the model's profile where stores look for it."""
    (tmp_path / "profiles").mkdir()
    profile.save(profile_path(tmp_path / "profiles", profile.spec))
    return tmp_path


def saved_and_found(model, settings):
    """The codec a context was saved with, and how many of its tokens another store of these settings loads."""
    with CachedModel.open(model, settings) as cached:
        cached.generate(prompt(40), max_new_tokens=1)
    with CachedModel.open(model, settings) as cached:
        cached.generate(prompt(40), max_new_tokens=1)
        return cached.store.codec.id, cached.store.metrics.snapshot()["tokens_loaded"]


def test_a_model_with_a_profile_at_hand_is_coded_with_it_and_others_without_loss(at_hand):
    assert saved_and_found(tiny_model("llama"), settings_in(at_hand)) == ("transform", 40)
    assert saved_and_found(tiny_model("llama", seed=1), settings_in(at_hand)) == ("lossless", 40)


def test_the_codec_of_the_settings_wins_over_a_profile_at_hand(at_hand):
    assert saved_and_found(tiny_model("llama"), settings_in(at_hand, CODEC="lossless")) == ("lossless", 40)


def test_a_copied_store_is_found_again_where_the_profile_never_was(at_hand, tmp_path, profile):
    model = tiny_model("llama")
    assert saved_and_found(model, settings_in(at_hand)) == ("transform", 40)
    shutil.copytree(at_hand / "store", tmp_path / "elsewhere" / "store")
    with forgetting(), CachedModel.open(model, settings_in(tmp_path / "elsewhere")) as cached:
        cached.generate(prompt(40), max_new_tokens=1)
        assert cached.store.codec.params()["profile"] == profile.fingerprint
        assert cached.store.metrics.snapshot()["tokens_loaded"] == 40


def test_a_profile_that_gets_lost_costs_time_and_nothing_else(at_hand, profile):
    model, ids = tiny_model("llama"), prompt(40)
    with CachedModel.open(model, settings_in(at_hand)) as cached:
        cached.generate(ids, max_new_tokens=1)
        cached.flush()
        (at_hand / "store" / "profiles" / f"{profile.fingerprint}.safetensors").unlink()
        with forgetting():
            assert torch.equal(cached.generate(ids, **GREEDY), model.generate(ids, **GREEDY))
        counted = cached.store.metrics.snapshot()
        assert (counted["profiles_missing"], counted["loads_failed"], counted["tokens_loaded"]) == (1, 0, 0)


def test_a_model_that_is_not_supported_runs_alone_whatever_the_codec(at_hand):
    model, ids = tiny_model("llama"), prompt(12)
    model.config.use_bidirectional_attention = True
    with CachedModel.open(model, settings_in(at_hand)) as cached:
        assert cached.unsupported is not None
        assert cached.store.codec.id == "lossless"
        assert torch.equal(cached.generate(ids, **GREEDY), model.generate(ids, **GREEDY))
