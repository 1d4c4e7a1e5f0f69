"""The parts of `benchmarks.blend`: requests with passages seen before, the checks, the picture."""

import pytest
import torch

from benchmarks.blend import _checks
from benchmarks.blend_picture import draw
from benchmarks.rag_requests import measure, requests
from codec import Lossless
from connectors.hf.blending import Blending
from connectors.hf.models import load_model
from kvstore import KVStore, MemoryTier
from tests.connectors.hf.model_dir import save_tiny_model

PASSAGES = [f"Passage {number} says this and that." for number in range(60)]


@pytest.fixture
def loaded(tmp_path):
    return load_model(save_tiny_model(tmp_path / "model"), torch.float32)


def test_most_passages_of_a_request_were_seen_before(loaded):
    asked = requests(loaded[1], PASSAGES, ["Why?"], 8, 2, 0.8)
    known = set(asked.seen)
    again = sum(layout.tokens(segment) in known for layout in asked.prompts for segment in layout.segments)
    assert len(known) == 20
    assert asked.share_seen == again / 16
    assert 0.6 < asked.share_seen < 0.95


@pytest.mark.parametrize("learns", [False, True])
def test_requests_are_blended_and_computed(loaded, learns):
    model, tokenizer = loaded
    asked, steps = requests(tokenizer, PASSAGES, ["Why?"], 6, 2, 0.8), []
    with KVStore([MemoryTier(1 << 28)], Lossless()) as store:
        row = measure(model, store, Blending(0.5, 0.5, learns=learns), asked, lambda: steps.append(1))
    assert len(steps) == 12
    assert (row["requests"], row["learns"]) == (6, learns)
    assert 0 < row["tokens_reused"] < 1
    assert row["times"] == pytest.approx(row["blended_per_s"] / row["full_per_s"])


def test_the_soonest_within_the_bound_is_checked():
    def row(share, kl, sooner):
        return {"corpus": "4 passages", "selector": "any", "share": share, "kl": kl, "sooner": sooner}

    run, sooner, kl = _checks([row(0.0, 0.01, 9.0), row(0.1, 0.06, 4.5), row(0.2, 0.05, 3.0)], [{"times": 2.0}])
    assert (run.ok, sooner.value, sooner.ok, kl.value, kl.ok) == (False, 4.5, True, 0.06, True)
    assert not _checks([row(0.1, 0.3, 4.0), row(0.2, 0.2, 3.0)], [])[1].ok


def test_quality_against_speed_becomes_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        {"corpus": corpus, "selector": selector, "share": share, "kl": share, "sooner": 1 / share}
        for corpus in ("4 passages", "10 passages")
        for selector, share in (("any", 0.1), ("any", 0.2), ("prefix", 0.01))
    ]
    draw(rows, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
