"""What is held, over HTTP: the same that the commands say, and of a tenant's own chunks alone."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from connectors.cli.main import app
from kvstore import ChunkKey, DiskTier, MemoryTier
from tests.connectors.cli.conftest import SPECS
from tests.connectors.sidecar.prompts import (
    ACME,
    ADMIN,
    CAPACITY_BYTES,
    GLOBEX,
    PROMPTS,
    ask,
    damage,
    fill,
    keys_of,
    serving_disk,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    fill(path)
    return path


@pytest.fixture(scope="module")
def served(path):
    with serving_disk(path) as served:
        yield served


def asked(served, where, token=ADMIN, **query):
    answered = ask(served, where, token=token, **query)
    assert answered.status == 200, answered.body
    return answered.json


def keys(listed):
    return {chunk["key"] for chunk in listed}


def test_it_is_what_the_commands_say(tmp_path):
    fill(tmp_path)
    first, last = map(str, (keys_of("a")[0], keys_of("b")[3]))
    with serving_disk(tmp_path) as served:
        listed = asked(served, "/v1/chunks")
        shown = asked(served, f"/v1/chunks/{last[:12]}")
        why = asked(served, "/v1/why-miss", a=first, b=last)

    def said(*arguments):
        return json.loads(CliRunner().invoke(app, [*arguments, "--store", str(tmp_path), "--json"]).stdout)

    assert listed == said("ls")
    assert {**shown, "lives_in": f"disk {tmp_path}"} == said("show", last)
    assert why == said("why-miss", first, last)


def test_a_tenant_sees_its_own_chunks_alone(served):
    other = [str(key) for key in keys_of("other")]
    assert keys(asked(served, "/v1/chunks", ACME)) == {str(key) for name in "ab" for key in keys_of(name)}
    assert keys(asked(served, "/v1/chunks", GLOBEX)) == set(other)
    assert len(asked(served, "/v1/chunks")) == 8
    for where, query in ((f"/v1/chunks/{other[0]}", {}), ("/v1/why-miss", {"a": keys_of("a")[0], "b": other[0]})):
        assert ask(served, where, token=ACME, **query).code == "not-found"
    assert ask(served, "/v1/chunks", token=ACME, tenant="globex").code == "forbidden"
    assert keys(asked(served, "/v1/prefixes", GLOBEX, by="bytes")) == {other[0]}
    assert ask(served, "/v1/quarantined", token=ACME).code == "forbidden"
    assert ask(served, "/v1/chunks").code == "unauthorized"


def test_the_list_is_filtered_sorted_and_cut(served):
    first = str(keys_of("a")[0])
    assert keys(asked(served, "/v1/chunks", q=first[:9].upper())) == {first}
    assert len(asked(served, "/v1/chunks", q="ACME/Small")) == len(asked(served, "/v1/chunks", q="lossless")) == 8
    assert len(asked(served, "/v1/chunks", q="globex")) == len(asked(served, "/v1/chunks", tenant="globex")) == 2
    assert len(asked(served, "/v1/chunks", model="small", limit=3)) == 3
    assert asked(served, "/v1/chunks", model="SMALL") == asked(served, "/v1/chunks", q="no such") == []
    for sort, field in (("age", "saved_at_s"), ("size", "size_bytes"), ("hits", "hits"), ("used", "used_at_s")):
        values = [chunk[field] for chunk in asked(served, "/v1/chunks", sort=sort)]
        assert values == sorted(values, reverse=True)
    assert ask(served, "/v1/chunks", token=ADMIN, limit=1001).code == "invalid-request"


def test_what_no_key_or_several_begin_with_is_a_problem_that_says_so(tmp_path):
    fill(tmp_path)
    key = str(keys_of("a")[0])
    twin = ChunkKey(bytes.fromhex(key)[:6] + bytes(26))
    with DiskTier(tmp_path, CAPACITY_BYTES) as disk:
        disk.put([(twin, b"twin")])
    with serving_disk(tmp_path) as served:
        problems = {digits: ask(served, f"/v1/chunks/{digits}", token=ADMIN) for digits in (key[:8], key[:7], "0" * 64)}
        assert [answered.code for answered in problems.values()] == ["invalid-request", "invalid-request", "not-found"]
        assert "2 keys begin with" in problems[key[:8]].json["detail"]
        assert "give 8 digits or more" in problems[key[:7]].json["detail"]
        assert asked(served, "/v1/chunks", q=str(twin)[:20])[0]["damaged"]
        assert asked(served, f"/v1/chunks/{twin}")["problem"]


def test_prefixes_say_what_is_held_behind_them(served):
    (hottest,) = asked(served, "/v1/prefixes")
    assert (hottest["key"], hottest["hits"], hottest["chunks"]) == (str(keys_of("a")[0]), 1, 6)
    largest = asked(served, "/v1/prefixes", by="bytes", limit=5)
    assert [prefix["chunks"] for prefix in largest] == [6, 2]
    assert sum(prefix["size_bytes"] for prefix in largest) == served.context.service.tiers.size_bytes
    assert [prefix["tenant"] for prefix in largest] == ["acme", "globex"]


def test_prompts_are_compared_with_each_other_and_with_keys(served):
    a, b = ({"token_ids": list(PROMPTS[name])} for name in "ab")
    answered = ask(served, "/v1/why-miss", "POST", {"a": a, "b": b}, ACME).json
    assert (answered["first_difference"]["position"], answered["shared_chunks"]) == (40, 2)
    assert [(held["a"], held["b"]) for held in answered["held"]] == [(4, 4)]
    for first, second in ((a, str(keys_of("b")[3])), (str(keys_of("b")[3]), a)):
        mixed = ask(served, "/v1/why-miss", "POST", {"a": first, "b": second}, ADMIN).json
        assert (mixed["shared_chunks"], mixed["held_chunks"]) == (2, 4)
    theirs = ask(served, "/v1/why-miss", "POST", {"a": a, "b": b}, GLOBEX).json["held"]
    assert [(held["a"], held["b"]) for held in theirs] == [(2, 2)], "the two chunks of their own that begin alike"


def test_what_was_damaged_is_listed_with_the_reason(tmp_path):
    fill(tmp_path)
    key = damage(tmp_path, "b")
    with serving_disk(tmp_path) as served:
        assert asked(served, f"/v1/chunks/{key}")["problem"]
        assert asked(served, "/v1/quarantined") == [], "looking drops nothing"
        served.context.service.tiers.quarantine(key, "a flipped bit")
        (found,) = asked(served, "/v1/quarantined")
        assert (found["key"], found["reason"]) == (str(key), "a flipped bit")
        answered = ask(served, f"/v1/chunks/{key}", token=ADMIN)
        assert answered.code == "not-found"
        assert "a flipped bit" in answered.json["detail"]
        assert "a flipped bit" not in ask(served, f"/v1/chunks/{key}", token=ACME).json["detail"]


def test_looking_brings_nothing_into_memory(tmp_path):
    fill(tmp_path)
    memory = MemoryTier(CAPACITY_BYTES)
    with serving_disk(tmp_path, faster=[memory]) as served:
        before = sorted(map(str, served.context.service.tiers.entries()))
        shown = asked(served, f"/v1/chunks/{keys_of('a')[0]}")
        asked(served, "/v1/chunks", q="small")
        asked(served, "/v1/prefixes")
        assert shown["lives_in"] == "disk"
        assert (memory.size_bytes, sorted(map(str, served.context.service.tiers.entries()))) == (0, before)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(q=st.text(max_size=30))
def test_whatever_is_searched_for_is_in_what_is_found(served, q):
    sought = q.casefold()
    of = {"a": "acme", "b": "acme", "other": "globex"}
    expected = {
        str(key)
        for name, tenant in of.items()
        for key in keys_of(name)
        if str(key).startswith(sought) or any(sought in text for text in (SPECS["lossless"].model, "lossless", tenant))
    }
    assert keys(asked(served, "/v1/chunks", q=q)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "token_ids", "x"]), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(a=JSON, b=JSON | st.just({"token_ids": [1, 2]}))
def test_what_is_neither_key_nor_prompt_is_refused(served, a, b):
    answered = ask(served, "/v1/why-miss", "POST", {"a": a, "b": b}, ADMIN)
    assert answered.status == 200 or answered.code in ("invalid-request", "not-found")
