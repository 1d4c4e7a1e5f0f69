"""Passages reused on the real model: exact when all is recomputed, closer the more is, and as the README says."""

import re
from pathlib import Path

import pytest
import torch

from codec import Lossless
from connectors.hf import CachedModel, spec_of
from connectors.hf.blend_quality import compare, reordered
from connectors.hf.blending import Blender, Blending, sink_of
from connectors.hf.prompts import passages_of_text, shipped_document
from kvstore import KVStore, MemoryTier
from tests.real import real_model

pytestmark = pytest.mark.real_model
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def loaded():
    return real_model(torch.float32)


def test_the_more_is_recomputed_the_closer_are_the_answers(loaded):
    model, tokenizer = loaded
    passages = passages_of_text(tokenizer, shipped_document(), 4, 120)
    prompts = reordered(tokenizer, passages, ["Which powers does the text name?"] * 3)
    with KVStore([MemoryTier(1 << 30)], Lossless()) as store:
        identity = store.identity(spec_of(model))

        def blender(share):
            return share, Blender(model, store, identity, Blending(share, share, behind=sink_of(tokenizer)))

        measured = compare(model, tokenizer, {share: blender(share) for share in (0.0, 0.4, 1.0)}, prompts).measured
    assert measured[1.0].kl < 1e-6
    assert measured[1.0].same_answer == 1.0
    assert measured[0.4].kl < 0.8 * measured[0.0].kl


def test_what_the_readme_says_runs(loaded, tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    (snippet,) = (
        code for code in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "layout_of_chat" in code
    )
    model, tokenizer = loaded
    exec(snippet, {"model": model, "tokenizer": tokenizer, "torch": torch, "CachedModel": CachedModel})
