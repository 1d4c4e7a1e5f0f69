"""`kvstore config` and what all commands share: help, errors, quick imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.connectors.cli.conftest import Run, json_of

COMMANDS = ["config", "ls", "show", "verify", "du", "calibrate", "demo"]


def test_config_says_where_each_value_came_from(run: Run, monkeypatch: pytest.MonkeyPatch):
    Path("kvstore.toml").write_text('[store]\ncodec = "int8"\n')
    monkeypatch.setenv("KVSTORE_MEMORY_CAPACITY_BYTES", "1GiB")
    shown = json_of(run("config", "--json"))
    assert shown["store.codec"] == {"value": "int8", "from": str(Path("kvstore.toml").absolute())}
    assert shown["memory.capacity_bytes"] == {"value": 1 << 30, "from": "KVSTORE_MEMORY_CAPACITY_BYTES"}
    assert shown["store.chunk_tokens"] == {"value": 128, "from": "default"}
    table = run("config").stdout
    assert "1 GiB" in table
    assert "KVSTORE_MEMORY_CAPACITY_BYTES" in table


def test_config_explains_the_codec_auto(run: Run, monkeypatch: pytest.MonkeyPatch):
    assert "Codec auto: transform for a model with a profile" in run("config").stdout
    assert json_of(run("config", "--json"))["store.codec"] == {"value": "auto", "from": "default"}
    monkeypatch.setenv("KVSTORE_STORE_CODEC", "lossless")
    assert "Codec auto" not in run("config").stdout


def test_wrong_setting_is_one_line_on_stderr_and_exit_code_2(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KVSTORE_STORE_CHUNK_TOKEN", "64")
    result = run("config")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "kvstore: the environment variable KVSTORE_STORE_CHUNK_TOKEN is not a setting; "
        "did you mean KVSTORE_STORE_CHUNK_TOKENS?"
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(run: Run, command: str):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example: " in result.stdout
    assert f"kvstore {command}" in result.stdout


@pytest.mark.parametrize("command", [["ls"], ["show", "ab"], ["verify"], ["verify", "--repair"], ["du"]])
def test_absent_store_is_a_clear_message_and_exit_code_2(run: Run, tmp_path: Path, command: list[str]):
    for arguments in (command, [*command, "--store", tmp_path / "absent"]):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("kvstore: there is no store in ")
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "absent").exists()


def test_directory_of_something_else_is_refused_and_left_alone(run: Run, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    result = run("verify", "--repair", "--store", tmp_path / "photos")
    assert result.exit_code == 2
    assert "photos cannot be read" in result.stderr
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]


def test_file_cut_short_is_refused_and_left_alone(run: Run, store: Path):
    with (store / "index" / "data.mdb").open("r+b") as file:
        file.truncate(3 * 4096)
    for command in (["ls"], ["verify"], ["verify", "--repair"], ["du"]):
        result = run(*command, "--store", store)
        assert result.exit_code == 2
        assert f"the store in {store} cannot be read" in result.stderr
    assert (store / "index" / "data.mdb").stat().st_size == 3 * 4096


def test_command_line_does_not_import_transformers():
    code = "import connectors.cli.main, sys; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
