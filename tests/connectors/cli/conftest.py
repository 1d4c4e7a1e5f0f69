"""A small store on disk, and the command run against it as a user would."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from codec import KVSpec, LayerGroup, codec_from
from connectors.cli.main import app
from kvstore import ChunkKey, DiskReader, DiskTier, Entry, Identity, KVStore, chunk_keys
from tests.kv import kv_of_numbers

Run = Callable[..., Result]

CHUNK_TOKENS = 16
SPECS = {
    "lossless": KVSpec("acme/small", "r1", "bfloat16", (LayerGroup((0, 1), kv_heads=2, key_dim=8, value_dim=8),)),
    "int8": KVSpec("acme/large", "r2", "float32", (LayerGroup((0, 1, 2), kv_heads=2, key_dim=8, value_dim=8),)),
}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the defaults, which point into an empty home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    """`run("ls", ...)`: the command's exit code, stdout and stderr."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four lossless chunks of acme/small, two of them loaded once, and two int8 chunks of acme/large."""
    path = tmp_path / "store"
    for seconds, (codec, num_chunks) in enumerate({"lossless": 4, "int8": 2}.items()):
        num_tokens = num_chunks * CHUNK_TOKENS
        disk = DiskTier(path, 1 << 20, clock=partial(float, 1_700_000_000 + seconds))
        kvstore = KVStore([disk], codec_from(codec), CHUNK_TOKENS)
        identity = kvstore.identity(SPECS[codec])
        kvstore.save(identity, range(num_tokens), kv_of_numbers(SPECS[codec], num_tokens))
        if codec == "lossless":
            kvstore.load(kvstore.match(identity, range(2 * CHUNK_TOKENS)))
        kvstore.close()
    return path


FORKED = {"a": range(64), "b": [*range(40), *range(100, 124)], "other": range(32)}
"""Prompts of tenant acme, alike in two chunks of four, and one of nobody: eight chunks in all."""


@pytest.fixture
def forked(tmp_path: Path) -> Path:
    """A store of the prompts in FORKED, saved on three days in November 2023."""
    path = tmp_path / "forked"
    for day, (name, tokens) in enumerate(FORKED.items()):
        with kvstore_of(path, 1_700_000_000 + 86400 * day) as kvstore:
            identity = kvstore.identity(SPECS["lossless"], tenant="" if name == "other" else "acme")
            kvstore.save(identity, tokens, kv_of_numbers(SPECS["lossless"], len(tokens)))
    return path


def kvstore_of(path: Path, now_s: float) -> KVStore:
    return KVStore([DiskTier(path, 1 << 20, clock=lambda: now_s)], codec_from("lossless"), CHUNK_TOKENS)


def keys_of(name: str) -> list[ChunkKey]:
    """Of a prompt in FORKED."""
    tenant = "" if name == "other" else "acme"
    identity = Identity(SPECS["lossless"], codec_from("lossless").identity(), CHUNK_TOKENS, tenant)
    return chunk_keys(identity, FORKED[name])


def entries_of(path: Path) -> dict[ChunkKey, Entry]:
    with DiskReader(path) as reader:
        return {entry.key: entry for entry in reader.entries()}


@pytest.fixture
def damaged(store: Path) -> Iterator[tuple[Path, list[ChunkKey]]]:
    """The store with a flipped bit in one frame, garbage for another and a third under the wrong key."""
    with DiskReader(store) as reader:
        keys = sorted(entry.key for entry in reader.entries())
        flipped, misplaced = bytearray(reader.get(keys[0])), reader.get(keys[3])
    flipped[-1] ^= 1
    with DiskTier(store, 1 << 20) as disk:
        disk.put([(keys[0], flipped), (keys[1], b"garbage"), (keys[2], misplaced)])
    return store, keys[:3]


def json_of(result: Result) -> object:
    """What `--json` printed; nothing else may be on stdout."""
    return json.loads(result.stdout)
