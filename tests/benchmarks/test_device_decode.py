"""The benchmark of decoding in device memory says when there is nothing to measure, and measures what there is."""

import json

import pytest
import torch

from benchmarks import device_decode
from codec import Int8, Lossless
from tests.kv import SPEC, kv_of_numbers


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_the_table_is_empty(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["device_decode", "--json", str(tmp_path / "report.json")])
    device_decode.main()
    assert "no CUDA device" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["rows"] == []


def test_every_way_is_a_row():
    rows = device_decode.measured(
        kv_of_numbers(SPEC, 256), {"int8": Int8(), "lossless": Lossless()}, torch.device("cpu"), 1
    )
    assert [row["held"] for row in rows] == ["raw, pinned", "device", "memory", "device", "memory"]
    assert all(row["tokens_s"] > 0 for row in rows)
