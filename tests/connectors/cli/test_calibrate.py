"""`kvstore calibrate`: a profile of a model's directory, put where stores look for it."""

from pathlib import Path

import pytest
import torch

from codec import Profile
from connectors.hf import CachedModel
from connectors.hf.models import load_model
from connectors.hf.prompts import shipped_document
from connectors.settings import load_settings
from tests.connectors.cli.conftest import Run, json_of
from tests.connectors.hf.model_dir import save_tiny_model
from tests.connectors.hf.tiny import prompt

SMALL = ("--texts", 3, "--held-out", 1, "--tokens", 64)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def corpora(tmp_path: Path) -> list[str]:
    """Two plain texts, as options."""
    text = shipped_document()
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text(text[number * 1000 : number * 1000 + 400])
    return ["--corpus", str(tmp_path / "0.txt"), "--corpus", str(tmp_path / "1.txt")]


def test_a_profile_is_written_and_its_levels_are_told(run: Run, model: Path, corpora: list[str], tmp_path: Path):
    result = run("calibrate", "--model", model, *corpora, *SMALL, "--out", tmp_path / "my.profile", "--json")
    assert result.exit_code == 0, result.output
    told, profile = json_of(result), Profile.load(tmp_path / "my.profile")
    assert (told["profile"], told["file"]) == (profile.fingerprint, str(tmp_path / "my.profile"))
    assert told["levels"] == dict(profile.levels)
    assert {"high", "balanced", "small"} <= profile.levels.keys()
    assert profile.spec.model == "tiny"
    assert all(point["bits"] > 0 for point in told["held_out"])


def test_without_a_file_it_goes_where_stores_of_this_model_look(run: Run, model: Path, corpora: list[str]):
    result = run("calibrate", "--model", model, *corpora, *SMALL, "--dtype", "float32")
    assert result.exit_code == 0, result.output
    assert "balanced" in result.stdout
    settings = load_settings(environ={"KVSTORE_STORE_CHUNK_TOKENS": "8"})
    (file,) = settings.store.profile_directory.iterdir()
    assert file.name.startswith("tiny-")
    loaded, _ = load_model(model, torch.float32)
    with CachedModel.open(loaded, settings) as cached:
        cached.generate(prompt(40), max_new_tokens=1)
        cached.flush()
        assert cached.store.codec.params() == {"profile": Profile.load(file).fingerprint, "quality": "balanced"}
        assert cached.store.metrics.snapshot()["chunks_saved"] == 5


def test_too_few_texts_and_wrong_options_are_told_before_the_work(run: Run, model: Path, corpora: list[str]):
    for options, says in (
        (("--texts", 500), "the corpus has "),
        (("--dtype", "int3"), "is none of auto, bfloat16"),
        (("--out", "/nowhere/at/all"), "there is no directory /nowhere/at"),
    ):
        result = run("calibrate", "--model", model, *corpora, *SMALL, *options)
        assert result.exit_code == 2
        assert says in result.stderr
