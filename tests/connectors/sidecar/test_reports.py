import time

import pytest

from connectors.reporting import Reporter
from connectors.settings import build_store, load_settings
from connectors.sidecar.callers import Tokens
from connectors.sidecar.reports import MOST_ENGINES, MOST_MODELS, OTHER, Reports
from kvstore import MemoryTier, Metrics, Tiers
from tests.connectors.sidecar.plain_requests import ask
from tests.connectors.sidecar.serving import serving
from tests.kv import SPEC, kv_of_numbers

ADMIN, ACME, OTHERS = "an admin's token 1", "acme's own token 2", "another's token 33"


@pytest.fixture
def served():
    with serving(Tiers([MemoryTier(1 << 20)]), tokens=Tokens(ADMIN, {"acme": ACME, "others": OTHERS})) as served:
        yield served


def report(served, token, engine="e1", model="m", **counts):
    return ask(served.url, "POST", "/v1/reports", {"engine": engine, "model": model, "counts": counts}, token)


def reported(served, token):
    return ask(served.url, "GET", "/v1/reports", token=token).json


def test_sums_are_of_all_engines_of_a_model_by_rung():
    reports = Reports()
    reports.take("", "one", "m", {"tokens_loaded": 100, "tokens_blended": 30, "tokens_computed": 5})
    reports.take("", "two", "m", {"tokens_loaded": 10, "tokens_not_loaded": 7})
    reports.take("", "one", "m", {"tokens_loaded": 150, "tokens_blended": 40, "tokens_computed": 6})
    sums = reports.by_model(None)["m"]
    assert (sums["tokens_loaded"], sums["tokens_blended"], sums["tokens_computed"]) == (160, 40, 6)
    assert sums["tokens_not_loaded"] == 7
    assert sums["tokens_exact"] == 70 + 10 + 40


def test_an_engine_that_began_anew_is_counted_from_0():
    reports = Reports()
    for loaded in (100, 150, 20, 30):
        reports.take("", "one", "m", {"tokens_loaded": loaded})
    assert reports.by_model(None)["m"]["tokens_loaded"] == 180


def test_the_same_report_twice_counts_once():
    reports = Reports()
    for _ in range(2):
        reports.take("", "one", "m", {"chunks_saved": 3})
    assert reports.by_model("")["m"]["chunks_saved"] == 3


def test_engines_are_forgotten_and_their_sums_stay():
    now_s = [1000.0]
    reports = Reports(clock=lambda: now_s[0])
    reports.take("", "one", "m", {"chunks_saved": 3})
    now_s[0] += 290
    reports.take("", "two", "m", {"chunks_saved": 1})
    assert [each.engine for each in reports.engines(None)] == ["two", "one"]
    now_s[0] += 20
    assert [each.engine for each in reports.engines(None)] == ["two"]
    reports.take("", "one", "m", {"chunks_saved": 5})
    assert reports.by_model(None)["m"]["chunks_saved"] == 6


def test_engines_and_models_are_bounded():
    reports = Reports()
    for number in range(MOST_ENGINES + 50):
        reports.take("", f"e{number}", f"m{number}", {"chunks_saved": 1})
    assert len(reports.engines(None)) == MOST_ENGINES
    sums = reports.by_model(None)
    assert len(sums) == MOST_MODELS + 1
    assert sums[OTHER]["chunks_saved"] == MOST_ENGINES + 50 - MOST_MODELS


def test_a_tenant_sees_its_own_and_the_admin_all(served):
    assert report(served, ACME, model="a", tokens_loaded=5).status == 204
    assert report(served, OTHERS, model="b", tokens_computed=7).status == 204
    assert [each["tenant"] for each in reported(served, ACME)["engines"]] == ["acme"]
    assert [each["model"] for each in reported(served, OTHERS)["models"]] == ["b"]
    everything = reported(served, ADMIN)
    assert {each["model"]: each["rungs"]["computed"] for each in everything["models"]} == {"a": 0, "b": 7}
    assert len(everything["engines"]) == 2
    assert ask(served.url, "GET", "/v1/reports").status == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "spaces are none"},
        {"engine": "x" * 200},
        {"engine": ""},
        {"model": ""},
        {"model": "x" * 201},
        {"counts": {"no_such_counter": 1}},
        {"counts": {"tokens_loaded": -1}},
        {"counts": {"tokens_loaded": 1.5}},
        {"counts": {"tokens_loaded": "1"}},
        {"counts": {"tokens_loaded": True}},
        {"counts": {"tokens_loaded": 1 << 60}},
        {"more": 1},
    ],
)
def test_what_is_no_report_is_declined(served, wrong):
    body = {"engine": "e", "model": "m", "counts": {}, **wrong}
    assert ask(served.url, "POST", "/v1/reports", body, ACME).json["code"] == "invalid-request"
    assert reported(served, ADMIN) == {"engines": [], "models": []}


def test_metrics_have_the_sums_by_model_and_rung(served):
    report(served, ACME, model='odd "name"\n', tokens_loaded=5, computing_spared_ms=1500, saves_dropped=2)
    report(served, OTHERS, model="b", tokens_computed=7, saves_dropped=3)
    text = ask(served.url, "GET", "/metrics", token=ADMIN).body.decode()
    assert 'kvstore_engine_tokens_total{model="odd \\"name\\"\\n",rung="exact"} 5.0' in text
    assert 'kvstore_engine_tokens_total{model="b",rung="computed"} 7.0' in text
    assert 'kvstore_engine_seconds_total{model="odd \\"name\\"\\n",of="computing_spared"} 1.5' in text
    assert 'kvstore_engine_events_total{event="saves_dropped"} 5.0' in text
    assert "kvstore_engines 2.0" in text
    assert "acme" not in text


def test_reports_end_with_the_store(served):
    metrics = Metrics()
    reporter = Reporter(served.url, ACME, 2.0, metrics, "acme/model", every_s=60)
    metrics.count("tokens_loaded", 12)
    reporter.close()
    reporter.close()
    (engine,) = reported(served, ACME)["engines"]
    assert engine["model"] == "acme/model"
    assert engine["counts"]["tokens_loaded"] == 12
    assert metrics.snapshot()["reports_failed"] == 0


def test_reports_come_every_so_often(served):
    metrics = Metrics()
    reporter = Reporter(served.url, ACME, 2.0, metrics, "m", every_s=0.05)
    try:
        for loaded in (1, 2, 3):
            metrics.count("tokens_loaded")
            _until(lambda loaded=loaded: _loaded(served) == loaded)
    finally:
        reporter.close()


def _loaded(served):
    return sum(each["counts"]["tokens_loaded"] for each in reported(served, ACME)["models"])


def _until(done):
    ends_s = time.monotonic() + 20
    while not done():
        assert time.monotonic() < ends_s
        time.sleep(0.02)


def test_an_engines_store_reports_what_its_model_reuses(served, tmp_path):
    settings = load_settings(
        environ={},
        overrides={
            "sidecar.url": served.url,
            "sidecar.token": ACME,
            "store.path": str(tmp_path),
            "store.load": "always",
        },
    )
    kv = kv_of_numbers(SPEC, 256)
    with build_store(settings, SPEC) as store:
        identity = store.identity(SPEC, "acme")
        store.save(identity, range(256), kv)
        assert store.load(store.match(identity, range(256))).num_tokens == 256
    (model,) = reported(served, ACME)["models"]
    assert model["model"] == SPEC.model
    assert model["rungs"]["exact"] == 256
    assert model["counts"]["chunks_saved"] == 2


def test_a_sidecar_that_is_not_there_is_counted_and_nobody_waits():
    metrics = Metrics()
    began_s = time.monotonic()
    reporter = Reporter("http://127.0.0.1:9", "", 0.5, metrics, "m", every_s=0.05)
    _until(lambda: metrics.snapshot()["reports_failed"] >= 2)
    reporter.close()
    assert time.monotonic() - began_s < 10
