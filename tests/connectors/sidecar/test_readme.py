"""What the README has people type at a sidecar works."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kvstore.testing import key
from tests.connectors.sidecar.asking import Asking
from tests.connectors.sidecar.conftest import OURS
from tests.connectors.sidecar.sound import whole

README = Path(__file__).parents[3] / "README.md"


@pytest.mark.parametrize("token", ["", OURS])
def test_what_is_asked_by_hand_is_answered(served, parties, tmp_path, token):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (snippet,) = (code for code in re.findall(r"```sh\n(.*?)```", README.read_text(), re.S) if "ask()" in code)
    where, (frame, _) = parties.served if token else served, whole(key("a"))
    assert Asking(where, token or None).put(key("a"), frame).status == 201
    given = {"URL": where.url, "KEY": str(key("a")), "TOKEN": token, "PATH": "/usr/bin:/bin"}
    run = subprocess.run(["bash", "-euc", snippet], cwd=tmp_path, env=given, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "frame.safetensors").read_bytes() == frame
    (listed,), matched, put, deleted = values(run.stdout)
    assert listed["key"] == str(key("a"))
    assert (matched["held"], matched["lease"]["seconds"]) == (1, 30)
    assert put == {"stored": 1, "durable": True}
    assert deleted == {"chunks": 1, "size_bytes": len(frame), "deleted": False}


def values(text):
    """Of JSON, one behind the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found
