"""Two engines with the real model and one sidecar: the second loads the context that the first computed."""

import pytest
import torch

from connectors.hf import CachedModel
from connectors.hf.models import fast_dtype
from connectors.hf.prompts import shipped_document
from connectors.settings import load_settings
from kvstore import DiskTier, MemoryTier, Tiers
from tests.connectors.sidecar.serving import serving
from tests.real import real_model

pytestmark = pytest.mark.real_model


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_what_one_engine_computed_the_other_loads(tmp_path, over):
    model, tokenizer = real_model(fast_dtype())
    prompt = tokenizer(shipped_document(), return_tensors="pt").input_ids[:, :400]
    tiers = Tiers([MemoryTier(1 << 30), DiskTier(tmp_path / "store", 1 << 30)])
    with tiers, serving(tiers) as served:
        url = served.url if over == "tcp" else f"unix:{served.socket}"
        named = {"store.path": str(tmp_path / "unused"), "store.codec": "lossless", "store.load": "always"}
        settings = load_settings(environ={}, overrides={**named, "sidecar.url": url, "sidecar.timeout_s": 20})
        answers, loaded = [], []
        for _ in range(2):
            with CachedModel.open(model, settings) as engine:
                answers.append(engine.generate(prompt, max_new_tokens=8, do_sample=False))
                loaded.append(engine.store.metrics.snapshot()["tokens_loaded"])
    assert loaded == [0, 384]
    assert torch.equal(*answers)
