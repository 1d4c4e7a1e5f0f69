"""The three lines a user writes: settings, a model, `generate`."""

import torch

from connectors.hf import CachedModel
from connectors.settings import load_settings
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
