"""`kvstore warm`: passages computed once, found in prompts afterwards, and files that are none told apart."""

import json
from pathlib import Path

import pytest
import torch

from blend import Segment
from connectors.hf import CachedModel, spec_of
from connectors.hf.blending import Blending, sink_of
from connectors.hf.layouts import layout_of_parts
from connectors.hf.models import load_model
from connectors.settings import build_store, load_settings
from tests.connectors.cli.conftest import Run, json_of
from tests.connectors.hf.model_dir import save_tiny_model

TEXTS = ["We the people of the United States.\n", "He has refused his assent to laws.\n"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.txt" for number in range(len(TEXTS))]
    for path, text in zip(paths, TEXTS, strict=True):
        path.write_text(text)
    return paths


def options(model: Path) -> list[object]:
    return ["--model", model, "--dtype", "float32"]


def test_what_was_warmed_is_reused_in_a_prompt(run: Run, model: Path, files: list[Path], tmp_path: Path):
    said = json_of(run("warm", *files, *options(model), "--store", tmp_path / "store", "--json"))
    assert (said["passages"], said["parts_computed"], said["parts_declined"], said["gate_passed"]) == (2, 2, 0, False)
    loaded, tokenizer = load_model(model, torch.float32)
    layout = layout_of_parts(tokenizer, ["Read.\n", Segment(TEXTS[1]), "And:\n", Segment(TEXTS[0]), "What now?"])
    settings = load_settings(overrides={"store.path": str(tmp_path / "store")})
    with CachedModel.open(loaded, settings) as cached:
        plain = cached.generate(torch.tensor([layout.token_ids]), max_new_tokens=4, do_sample=False)

    with build_store(settings, cached.spec) as store:
        blending = Blending(1.0, behind=sink_of(tokenizer), learns=False)
        with CachedModel(loaded, store, blending=blending) as blended:
            ids = torch.tensor([layout.token_ids])
            answer = blended.generate(ids, segments=layout.segments, max_new_tokens=4, do_sample=False)
        assert torch.equal(answer, plain)
        assert store.metrics.snapshot()["tokens_blended"] == said["tokens"]


def test_what_is_held_is_not_computed_again(run: Run, model: Path, files: list[Path]):
    run("warm", files[0], *options(model))
    said = json_of(run("warm", *files, *options(model), "--json"))
    assert (said["passages"], said["parts_computed"]) == (2, 1)
    assert " 0 parts computed" in run("warm", *files, *options(model)).output
    assert "kvstore gate" in run("warm", *files, *options(model)).output


def test_a_file_may_hold_many_passages(run: Run, model: Path, tmp_path: Path):
    (tmp_path / "many.txt").write_text("---\n".join(TEXTS))
    (tmp_path / "many.json").write_text(json.dumps([*TEXTS, "One more.\n"]))
    said = json_of(run("warm", tmp_path / "many.txt", *options(model), "--separator", "---\\n", "--json"))
    assert said["parts_computed"] == 2
    said = json_of(run("warm", tmp_path / "many.json", *options(model), "--json"))
    assert (said["passages"], said["parts_computed"]) == (3, 1)


def test_unmarked_passages_are_found_anywhere(run: Run, model: Path, tmp_path: Path):
    text = " ".join(f"Number {number} is followed by {number * 7 % 101}." for number in range(80))
    (tmp_path / "long.txt").write_text(text)
    run("warm", tmp_path / "long.txt", *options(model), "--unmarked", "--store", tmp_path / "store")
    loaded, tokenizer = load_model(model, torch.float32)
    ids = torch.tensor([tokenizer(f"Before that. {text} What follows?", add_special_tokens=False).input_ids])
    settings = load_settings(overrides={"store.path": str(tmp_path / "store")})
    with build_store(settings, spec_of(loaded)) as store:
        with CachedModel(loaded, store, blending=Blending(0.2, behind=sink_of(tokenizer))) as cached:
            cached.generate(ids, segments="anywhere", max_new_tokens=1)
        assert store.metrics.snapshot()["tokens_blended"] > 0.5 * ids.shape[1]


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", "{}"), ("b.json", "["), ("c.txt", b"\xff\xfe"), ("d.json", "[1]"), ("none", None)]
)
def test_files_that_hold_no_texts_are_named(run: Run, model: Path, tmp_path: Path, name: str, content: object):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    result = run("warm", path, *options(model))
    assert result.exit_code == 2
    assert name in result.output.replace("\n", "")
