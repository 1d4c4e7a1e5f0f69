"""`kvstore ls` and `kvstore du`: what is held, in which order, and what it takes."""

import time
from pathlib import Path

import pytest

from codec import codec_from
from kvstore import DiskReader, DiskTier, KVStore, Terms
from tests.connectors.cli.conftest import CHUNK_TOKENS, FORKED, SPECS, Run, json_of, keys_of, kvstore_of
from tests.kv import kv_of_numbers


def test_ls_lists_every_chunk(run: Run, store: Path):
    chunks = json_of(run("ls", "--store", store, "--json"))
    with DiskReader(store) as reader:
        entries = {str(entry.key): entry for entry in reader.entries()}
    assert {chunk["key"] for chunk in chunks} == set(entries)
    small = [chunk for chunk in chunks if chunk["model"] == "acme/small"]
    assert sorted((chunk["start"], chunk["end"]) for chunk in small) == [(0, 16), (16, 32), (32, 48), (48, 64)]
    assert {chunk["codec"] for chunk in small} == {"lossless"}
    assert all(chunk["size_bytes"] == entries[chunk["key"]].size_bytes for chunk in chunks)
    assert not any(chunk["damaged"] for chunk in chunks)


def test_ls_prints_a_line_for_each_chunk(run: Run, store: Path):
    text = run("ls", "--store", store).stdout
    assert text.count("acme/small") == 4
    assert text.count("acme/large") == 2
    assert "[16, 32)" in text


def test_ls_takes_the_store_from_the_settings(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KVSTORE_STORE_PATH", str(store))
    assert len(json_of(run("ls", "--json"))) == 6


def test_ls_sorts_by_age_size_and_hits(run: Run, store: Path):
    def sorted_by(order: str, field: str) -> list[float]:
        return [chunk[field] for chunk in json_of(run("ls", "--store", store, "--sort", order, "--json"))]

    for order, field in (("age", "saved_at_s"), ("size", "size_bytes"), ("hits", "hits")):
        values = sorted_by(order, field)
        assert values == sorted(values, reverse=True)
        assert len(set(values)) > 1
    of_last_save = json_of(run("ls", "--store", store, "--limit", 2, "--json"))
    assert [chunk["start"] for chunk in of_last_save] == [0, 16], "a prompt's chunks stand in its order"


def test_ls_chooses_a_tenant_and_sorts_by_use(run: Run, forked: Path):
    with kvstore_of(forked, 1_800_000_000) as kvstore:
        identity = kvstore.identity(SPECS["lossless"], tenant="acme")
        kvstore.load(kvstore.match(identity, FORKED["a"]))
    chunks = json_of(run("ls", "--tenant", "acme", "--sort", "used", "--store", forked, "--json"))
    assert [chunk["key"] for chunk in chunks[:4]] == [str(key) for key in keys_of("a")], "a prompt stays in order"
    assert {chunk["tenant"] for chunk in chunks} == {"acme"}
    assert len(json_of(run("ls", "--tenant", "", "--store", forked, "--json"))) == 2
    text = run("ls", "--store", forked).stdout
    assert "never" in text
    assert "for tenant 'nobody'" in run("ls", "--tenant", "nobody", "--store", forked).stdout


def test_ls_shows_what_is_pinned_and_what_expires(run: Run, forked: Path):
    key = keys_of("other")[0]
    with DiskTier(forked, 1 << 20) as disk:
        disk.pin([key])
        disk.put([(key, disk.get(key))], terms=Terms("", time.time() + 7200.5))
    (chunk,) = (chunk for chunk in json_of(run("ls", "--store", forked, "--json")) if chunk["key"] == str(key))
    assert chunk["expires_at_s"] > time.time() + 7000
    assert "2 h" in run("ls", "--store", forked, "--sort", "size").stdout


def test_du_adds_up_by_tenant(run: Run, forked: Path):
    usage = json_of(run("du", "--by", "tenant", "--store", forked, "--json"))["usage"]
    assert {used["tenant"]: used["chunks"] for used in usage} == {"acme": 6, "": 2}
    both = json_of(run("du", "--by", "codec", "--by", "tenant", "--store", forked, "--json"))["usage"]
    assert [(used["codec"], used["tenant"]) for used in both] == [("lossless", "acme"), ("lossless", "")]
    assert "tenant" in run("du", "--by", "tenant", "--store", forked).stdout


def test_ls_limits_after_choosing_the_model(run: Run, store: Path):
    chunks = json_of(run("ls", "--store", store, "--model", "small", "--limit", 3, "--json"))
    assert [chunk["model"] for chunk in chunks] == ["acme/small"] * 3
    assert json_of(run("ls", "--store", store, "--model", "huge", "--json")) == []
    assert "holds no chunks of huge" in run("ls", "--store", store, "--model", "huge").stdout


def test_empty_store_is_an_empty_list(run: Run, tmp_path: Path):
    DiskTier(tmp_path / "store", 1 << 20).close()
    assert json_of(run("ls", "--store", tmp_path / "store", "--json")) == []
    result = run("ls", "--store", tmp_path / "store")
    assert result.exit_code == 0
    assert "holds no chunks" in result.stdout
    assert json_of(run("du", "--store", tmp_path / "store", "--json"))["usage"] == []
    assert run("verify", "--store", tmp_path / "store").exit_code == 0


def test_ls_and_du_say_which_headers_are_damaged(run: Run, damaged: tuple[Path, list]):
    store, keys = damaged
    chunks = json_of(run("ls", "--store", store, "--json"))
    assert {chunk["key"] for chunk in chunks if chunk["damaged"]} == {str(key) for key in keys[1:]}
    assert run("ls", "--store", store).stdout.count("(damaged)") == 2
    usage = json_of(run("du", "--store", store, "--json"))["usage"]
    assert sum(used["chunks"] for used in usage if used["model"] is None) == 2
    assert "(damaged)" in run("du", "--store", store).stdout


def test_long_headers_are_read_in_full(run: Run, tmp_path: Path):
    spec = SPECS["lossless"]
    groups = tuple(spec.groups[0].__class__((layer,), 1, 2, 2, rotary={"x": "y" * 200}) for layer in range(250))
    many_layers = spec.__class__("deep", "r", "bfloat16", groups)
    with DiskTier(tmp_path / "store", 1 << 22) as disk:
        store = KVStore([disk], codec_from("lossless"), CHUNK_TOKENS)
        kv = kv_of_numbers(many_layers, CHUNK_TOKENS)
        store.save(store.identity(many_layers), range(CHUNK_TOKENS), kv)
    (chunk,) = json_of(run("ls", "--store", tmp_path / "store", "--json"))
    assert chunk["model"] == "deep"


def test_du_adds_up_by_model_and_codec(run: Run, store: Path):
    shown = json_of(run("du", "--store", store, "--json"))
    usage = {(used["model"], used["codec"]): used for used in shown["usage"]}
    small, large = usage["acme/small", "lossless"], usage["acme/large", "int8"]
    assert (small["chunks"], small["tokens"]) == (4, 64)
    assert small["bf16_bytes"] == 64 * SPECS["lossless"].bytes_per_token
    assert large["bf16_bytes"] == 32 * SPECS["int8"].bytes_per_token // 2, "float32 counts as bfloat16 would"
    assert shown["size_bytes"] == small["size_bytes"] + large["size_bytes"]
    files = [*store.glob("index/data.mdb"), *store.glob("segments/*")]
    assert shown["file_bytes"] == sum(file.stat().st_size for file in files)
    assert shown["budget_bytes"] is None


def test_du_knows_the_budget_of_the_store_in_the_settings(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KVSTORE_STORE_PATH", str(store))
    monkeypatch.setenv("KVSTORE_DISK_CAPACITY_BYTES", "3GiB")
    assert json_of(run("du", "--json"))["budget_bytes"] == 3 << 30
    assert "of a budget of 3 GiB" in run("du").stdout
