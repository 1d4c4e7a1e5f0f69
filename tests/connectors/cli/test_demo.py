"""`kvstore demo` on a tiny model: which codecs it shows, and what it says of each."""

from pathlib import Path

import pytest

from connectors.cli import demo, demo_passages
from connectors.hf import default_profile, ttft
from connectors.hf.models import load_model
from tests.connectors.cli.conftest import Run, json_of
from tests.connectors.hf.model_dir import save_tiny_model


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's model is a tiny one, calibrated on few texts, and new processes are this one."""
    path = save_tiny_model(tmp_path / "tiny")

    def here(directory: str, dtype: object, cases: list[ttft.NewProcessCase]) -> list[ttft.NewProcessResult]:
        return [ttft._run_case(load_model(directory, dtype)[0], case) for case in cases]

    monkeypatch.setattr(ttft, "in_new_process", here)
    monkeypatch.setattr("connectors.hf.models.demo_model_dir", lambda: path)
    monkeypatch.setattr(default_profile, "_TEXTS", 2)
    monkeypatch.setattr(default_profile, "_HELD_OUT", 1)
    monkeypatch.setattr(default_profile, "_TOKENS", 64)
    return path


@pytest.fixture(autouse=True)
def short_passages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_passages, "PASSAGE_TOKENS", 8)
    monkeypatch.setattr(demo_passages, "NUM_PASSAGES", 3)


OPTIONS = ("--contexts", 128, "--question", "Who?", "--dtype", "float32")


def test_the_demo_model_gets_a_profile_once(run: Run, tmp_path: Path):
    first = run("demo", *OPTIONS, "--json")
    assert first.exit_code == 0, first.output
    assert "calibrating one, this once" in " ".join(first.stderr.split())
    (file,) = (tmp_path / "home/.cache/kvstore/profiles").iterdir()
    assert file.name.startswith("tiny-")
    lossy, lossless = json_of(first)["runs"]
    assert (lossy["codec"], lossy["lossless"], lossless["codec"], lossless["lossless"]) == (
        "transform",
        False,
        "lossless",
        True,
    )
    assert lossless["same_tokens"]
    assert (lossless["kl"], lossless["top1"]) == (pytest.approx(0, abs=1e-9), 1.0)
    assert lossy["kl"] > 0
    assert lossy["bytes_per_token"] < lossless["bytes_per_token"] / 2
    written = file.stat().st_mtime_ns
    table = run("demo", *OPTIONS)
    assert "this once" not in table.stderr
    assert "KL 0." in table.stdout
    assert file.stat().st_mtime_ns == written


def test_another_model_without_a_profile_is_shown_without_transform(run: Run, model: Path):
    result = run("demo", "--model", model, *OPTIONS, "--json")
    assert [shown["codec"] for shown in json_of(result)["runs"]] == ["lossless"]
    assert "transform is left out: `kvstore calibrate`" in " ".join(result.stderr.split())


def test_transform_alone_without_a_profile_says_what_to_do(run: Run, model: Path):
    result = run("demo", "--model", model, *OPTIONS, "--codecs", "transform")
    assert result.exit_code == 2
    assert "transform needs a profile: `kvstore calibrate` makes one" in result.stderr


def test_a_context_that_is_not_whole_chunks_is_compared_all_the_same(run: Run):
    result = run("demo", "--contexts", 150, *OPTIONS[2:], "--codecs", "lossless,int8", "--json")
    assert result.exit_code == 0, result.output
    lossless, int8 = json_of(result)["runs"]
    assert lossless["kl"] < 1e-6
    assert int8["kl"] < 1e-2


def test_a_misspelt_codec_is_told_before_anything_is_loaded(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "_run", None)
    assert run("demo", "--codecs", "transfrom").exit_code == 2


def test_passages_are_reused_in_a_new_order(run: Run, model: Path):
    said = json_of(run("demo", "--model", model, *OPTIONS, "--json"))["reused_passages"]
    assert (said["codec"], said["passages"]) == ("lossless", 3)
    naive, some = said["blended"]
    assert naive["kl"] > some["kl"] >= 0
    assert "in a new order" in run("demo", "--model", model, *OPTIONS).stdout


def test_a_text_too_short_for_passages_is_shown_without(run: Run, model: Path, tmp_path: Path):
    (tmp_path / "short.txt").write_text(
        "We the people of the United States, in order to form a more perfect union. " * 9
    )
    said = json_of(run("demo", "--model", model, *OPTIONS, "--file", tmp_path / "short.txt", "--json"))
    assert said["reused_passages"] is None
