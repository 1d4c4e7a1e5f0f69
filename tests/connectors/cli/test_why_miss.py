"""`kvstore why-miss`: the first line answers, for prompts, for keys and for one of each."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from codec import codec_from
from kvstore import DiskTier, KVStore
from tests.connectors.cli.conftest import FORKED, SPECS, Run, json_of, keys_of
from tests.connectors.hf.model_dir import save_tiny_model
from tests.kv import kv_of_numbers


@pytest.fixture
def prompt(tmp_path: Path):
    """`prompt(name, token_ids)`: a file of them."""

    def write(name: str, token_ids: Iterable[int]) -> Path:
        (tmp_path / name).write_text(json.dumps(list(token_ids)))
        return tmp_path / name

    return write


def first_line(run: Run, *arguments: object) -> str:
    result = run("why-miss", *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()[0]


def test_prompts_part_at_a_token(run: Run, forked: Path, prompt):
    a, b = prompt("a", FORKED["a"]), prompt("b", FORKED["b"])
    line = first_line(run, a, b, "--store", forked)
    assert line == ("They part at token 40, in tokens [32, 48): A has 40, B has 100; 2 chunks of 16 tokens shared.")
    facts = json_of(run("why-miss", a, b, "--store", forked, "--json"))
    assert facts["first_difference"] == {"position": 40, "a": 40, "b": 100}
    assert facts["shared_chunks"] == 2
    by_tenant = {("tenant" in held["identity"]): (held["a"], held["b"]) for held in facts["held"]}
    assert by_tenant == {True: (4, 4), False: (2, 2)}


def test_prompts_need_no_store(run: Run, prompt):
    assert "0 chunks of 128 tokens shared" in first_line(run, prompt("a", [1, 2]), prompt("b", [1, 3]))
    assert "B begins with all 2 tokens of A" in first_line(run, prompt("a", [1, 2]), prompt("b", [1, 2, 3]))
    assert "the same 1 token:" in first_line(run, prompt("a", [1]), prompt("b", [1]))
    assert "less than a chunk" in run("why-miss", prompt("a", [1]), prompt("b", [2])).stdout


def test_text_is_read_by_a_tokenizer_and_shown_around_the_difference(run: Run, tmp_path: Path):
    save_tiny_model(tmp_path / "model")
    (tmp_path / "a.txt").write_text("the quick brown fox")
    (tmp_path / "b.txt").write_text("the quick black fox")
    files = tmp_path / "a.txt", tmp_path / "b.txt"
    assert "name its tokenizer with --model" in run("why-miss", *files).stderr
    shown = run("why-miss", *files, "--model", tmp_path / "model").stdout
    assert "They part at token 11, in tokens [0, 128): A has " in shown
    assert "('r'), B has " in shown
    assert "('l'); 0 chunks" in shown
    assert "| 'r o w n" in shown


def test_keys_of_one_prompt(run: Run, forked: Path):
    a = keys_of("a")
    assert first_line(run, a[1], a[1], "--store", forked) == "They are the same chunk."
    assert "B lies 2 chunks behind A" in first_line(run, a[1], a[3], "--store", forked)


def test_keys_of_prompts_that_part(run: Run, forked: Path):
    a, b = keys_of("a"), keys_of("b")
    line = first_line(run, str(a[3])[:8], b[2], "--store", forked)
    assert line.startswith("They part in tokens [32, 48), behind 2 shared chunks: ")
    assert "their tokens or images differ" in line
    facts = json_of(run("why-miss", a[3], b[2], "--store", forked, "--json"))
    assert (facts["differs"], facts["shared_chunks"]) == ({}, 2)


def test_keys_of_different_identities_name_the_parts(run: Run, forked: Path, store: Path):
    line = first_line(run, keys_of("a")[0], keys_of("other")[0], "--store", forked)
    assert line == 'Neither is ever reused for the other, whatever the tokens: tenant is acme for A, "" for B.'
    chunks = {chunk["model"]: chunk["key"] for chunk in json_of(run("ls", "--store", store, "--json"))}
    facts = json_of(run("why-miss", chunks["acme/small"], chunks["acme/large"], "--store", store, "--json"))
    assert {"model", "revision", "dtype", "number of layers", "codec"} < facts["differs"].keys()
    assert facts["differs"]["dtype"] == {"a": "bfloat16", "b": "float32"}


def test_chunk_size_is_part_of_the_identity(run: Run, forked: Path):
    with KVStore([DiskTier(forked, 1 << 20)], codec_from("lossless"), 8) as kvstore:
        identity = kvstore.identity(SPECS["lossless"], "acme")
        kvstore.save(identity, FORKED["a"], kv_of_numbers(SPECS["lossless"], 64))
        short = kvstore.match(identity, FORKED["a"]).keys[0]
    assert "chunk size is 16 for A, 8 for B" in first_line(run, keys_of("a")[0], short, "--store", forked)


def test_a_prompt_and_a_key(run: Run, forked: Path, prompt):
    a, key = prompt("a", FORKED["a"]), keys_of("b")[3]
    line = first_line(run, a, key, "--store", forked)
    assert line.startswith("They part in tokens [32, 48), behind 2 shared chunks")
    assert "4 of the prompt's 4 full chunks are held" in run("why-miss", key, a, "--store", forked).stdout
    other = first_line(run, prompt("z", range(9, 60)), key, "--store", forked)
    assert "behind 0 shared chunks: their tokens, images or LoRA adapter differ" in other
    assert "reaches the chunk" in first_line(run, prompt("b", FORKED["b"]), key, "--store", forked)
    ended = first_line(run, prompt("c", FORKED["b"][:20]), key, "--store", forked)
    assert ended.startswith("The prompt ends before the chunk: 1 full chunk of 16 tokens shared")


def test_a_gap_before_a_chunk_is_said(run: Run, forked: Path):
    keys = keys_of("a")
    with DiskTier(forked, 1 << 20) as disk:
        disk.delete(keys[0])
    result = run("why-miss", keys[2], keys[3], "--store", forked)
    assert "B lies 1 chunk behind A" in result.stdout
    assert "A chunk before one of them is gone" in result.stdout
    with DiskTier(forked, 1 << 20) as disk:
        disk.delete(keys_of("b")[2])
        disk.delete(keys[1])
    line = first_line(run, keys[2], keys_of("b")[3], "--store", forked)
    assert line.startswith("They part before the end of tokens [48, 64)")


def test_what_is_neither_file_nor_key_is_an_error(run: Run, forked: Path, tmp_path: Path):
    result = run("why-miss", "nothing.txt", keys_of("a")[0], "--store", forked)
    assert result.exit_code == 2
    assert "is no file, and no key either" in result.stderr
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "cannot be read as text" in run("why-miss", tmp_path / "binary", tmp_path / "binary").stderr
