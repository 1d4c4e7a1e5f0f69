"""`kvstore gate`: lets a model through whose blended answers stay close, stops one whose do not, and is obeyed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blend.gate import Verdict
from connectors.codec_choice import gate_path
from connectors.hf import CachedModel, spec_of
from connectors.hf.models import load_model
from connectors.settings import load_settings, profile_directory
from tests.connectors.cli.conftest import Run, json_of
from tests.connectors.hf.model_dir import save_tiny_model

SMALL = ["--passages", "2", "--prompts", "2", "--dtype", "float32", "--codec", "lossless"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    passages = [{"title": f"Part {n}", "text": "We the people. " * (n + 2)} for n in range(3)]
    path = tmp_path / "questions.json"
    path.write_text(json.dumps([{"ctxs": passages, "question": "Who?", "answers": ["the people"]}] * 2))
    return path


def measured_at(file: str, sooner: float) -> None:
    """A tiny model's prompts take no time: the verdict of one whose do."""
    verdict = Verdict.load(Path(file))
    replace(verdict, measured=tuple(replace(point, sooner=sooner) for point in verdict.measured)).save(Path(file))


def test_everything_recomputed_passes_any_bound(run: Run, model: Path, corpus: Path):
    result = run("gate", "--model", model, "--corpus", corpus, *SMALL, "--shares", "0,1", "--bound", "1e-10", "--json")
    said = json_of(result)
    assert said["passed"]["share"] == 1.0, said["measured"]
    assert said["measured"][0]["kl"] > said["measured"][1]["kl"]
    assert Path(said["file"]) == gate_path(profile_directory(), spec_of(load_model(model, torch.float32)[0]))


def test_a_model_that_comes_out_otherwise_is_stopped(run: Run, model: Path, corpus: Path):
    result = run("gate", "--model", model, "--corpus", corpus, *SMALL, "--shares", "0", "--bound", "0")
    assert result.exit_code == 1
    assert "will not be blended" in result.output
    loaded, _ = load_model(model, torch.float32)
    with CachedModel.open(loaded, load_settings(overrides={"store.codec": "lossless"})) as cached:
        assert cached.blender is None


def test_what_passed_is_how_the_model_is_blended(run: Run, model: Path, corpus: Path):
    said = run("gate", "--model", model, "--corpus", corpus, *SMALL, "--shares", "1", "--json")
    loaded, _ = load_model(model, torch.float32)
    measured_at(json_of(said)["file"], sooner=0.9)
    with CachedModel.open(loaded, load_settings(overrides={"store.codec": "lossless"})) as cached:
        assert cached.blender is None, "an engine with a store is never slower than without"
    measured_at(json_of(said)["file"], sooner=1.1)
    with CachedModel.open(loaded, load_settings(overrides={"store.codec": "lossless"})) as cached:
        assert cached.blender is not None
    with CachedModel.open(loaded, load_settings(overrides={"store.codec": "int8"})) as cached:
        assert cached.blender is None, "the gate has not seen what int8 loses"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--shares", "0.5,0.1"], "ascend"),
        (["--shares", "2"], "between 0 and 1"),
        (["--shares", "many"], "many"),
        (["--skip", "9"], "no question"),
    ],
)
def test_senseless_options_are_told(run: Run, model: Path, corpus: Path, options: list[str], named: str):
    result = run("gate", "--model", model, "--corpus", corpus, *SMALL, *options)
    assert result.exit_code == 2
    assert named in result.output


def test_a_file_without_passages_is_told(run: Run, model: Path, tmp_path: Path):
    (tmp_path / "other.json").write_text('[{"question": "Who?"}]')
    result = run("gate", "--model", model, "--corpus", tmp_path / "other.json", *SMALL)
    assert result.exit_code == 2
    assert "ctxs" in result.output
