"""What whoever runs the sidecar sees of it: ids, logs, metrics, traces, and the files in docs that go with them."""

import io
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connectors.remote.opening import open_remote
from connectors.sidecar.callers import Tokens
from connectors.sidecar.logs import JsonLines, TextLines, named
from connectors.sidecar.traces import traced
from kvstore import InvalidRequest, MemoryTier, Metrics, Tiers
from kvstore.metrics import NAMES
from tests.connectors.remote.redis_servers import free_ports, redis_server
from tests.connectors.sidecar.plain_requests import ask, put, whole_frames
from tests.connectors.sidecar.serving import serving
from tests.kvstore.faulty import FaultyTier

DOCS = Path(__file__).parents[3] / "docs"
ADMIN, ACME = "an admin's token 1", "acme's own token 2"
NO_KEY = "0" * 64


class SecondTier(FaultyTier):
    name = "second"


@pytest.fixture
def slow():
    return SecondTier(1 << 20)


@pytest.fixture
def served(slow):
    metrics = Metrics()
    with serving(Tiers([MemoryTier(1 << 20), slow], metrics), metrics) as served:
        yield served


@contextmanager
def logged(formatter):
    """The lines written meanwhile, when it is left."""
    lines, stream, root = [], io.StringIO(), logging.getLogger()
    handler, before = logging.StreamHandler(stream), root.level
    handler.addFilter(named)
    handler.setFormatter(formatter)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        lines += stream.getvalue().splitlines()


def families(served, token=None):
    text = ask(served.url, "GET", "/metrics", token=token).body.decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family, *labels):
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.parametrize("request_id", ["abc-123_X.y", "x" * 64])
def test_a_sane_request_id_comes_back(served, request_id):
    said = ask(served.url, "GET", f"/v1/frames/{NO_KEY}", headers={"X-Request-Id": request_id})
    assert said.headers["x-request-id"] == said.json["request_id"] == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", 'a"b', "ä", "a\tb"])
def test_any_other_is_replaced(served, request_id):
    said = ask(served.url, "GET", f"/v1/frames/{NO_KEY}", headers={"X-Request-Id": request_id.encode()})
    assert re.fullmatch("[0-9a-f]{16}", said.headers["x-request-id"])
    assert said.json["request_id"] == said.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/healthz", 200), ("GET", "/nowhere", 404), ("POST", "/healthz", 405), ("POST", "/v1/match", 422)],
)
def test_every_answer_has_an_id_of_its_own(served, method, path, status):
    answers = [ask(served.url, method, path) for _ in range(3)]
    assert [said.status for said in answers] == [status] * 3
    assert len({said.headers["x-request-id"] for said in answers}) == 3


def test_a_request_is_one_line_of_json(served):
    with logged(JsonLines()) as lines:
        ask(served.url, "GET", f"/v1/frames/{NO_KEY}", headers={"X-Request-Id": "mine"})
        ask(served.url, "GET", "/healthz")
        ask(served.url, "GET", "/healthz")
    (line,) = map(json.loads, lines)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["level"], line["logger"], line["request_id"]) == ("INFO", "kvstore.requests", "mine")
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/frames/{key}", 404)
    assert line["bytes_in"] == 0
    assert line["bytes_out"] > 0
    assert 0 < line["ms"] < 10_000
    assert line["caller"] == "admin"


def test_lines_for_people_name_the_request(served):
    with logged(TextLines()) as lines:
        ask(served.url, "GET", f"/v1/frames/{NO_KEY}", headers={"X-Request-Id": "mine"})
        logging.getLogger("test").warning("of no request")
        ask(served.url, "GET", "/healthz")
    request, other = sorted(lines)
    assert re.fullmatch(r"kvstore: INFO GET /v1/frames/\{key\} 404 in [0-9.]+ ms \[mine\]", request)
    assert other == "kvstore: WARNING of no request"


def test_what_is_logged_during_a_request_has_its_id(served, slow):
    slow.refused.add("get")
    with logged(JsonLines()) as lines:
        ask(served.url, "GET", f"/v1/frames/{NO_KEY}", headers={"X-Request-Id": "mine"})
        ask(served.url, "GET", "/healthz")
    complaint, request = map(json.loads, lines)
    assert complaint["logger"] == "kvstore.guard"
    assert complaint["request_id"] == request["request_id"] == "mine"


def test_an_error_of_ours_is_a_problem_and_a_traceback_under_one_id(served, monkeypatch):
    monkeypatch.setattr(served.context.service, "entry", lambda *_: 1 / 0)
    with logged(JsonLines()) as lines:
        said = ask(served.url, "HEAD", f"/v1/frames/{NO_KEY}", headers={"X-Request-Id": "mine"})
        ask(served.url, "GET", "/healthz")
    assert (said.status, said.headers["content-type"]) == (500, "application/problem+json")
    error, request = map(json.loads, lines)
    assert "ZeroDivisionError" in error["error"]
    assert error["request_id"] == request["request_id"] == said.headers["x-request-id"] == "mine"
    assert request["status"] == 500


def test_tokens_are_never_logged():
    with serving(Tiers([MemoryTier(1 << 20)]), tokens=Tokens(ADMIN, {"acme": ACME})) as served:
        with logged(JsonLines()) as lines:
            ask(served.url, "GET", f"/v1/frames/{NO_KEY}", token=ACME)
            ask(served.url, "GET", f"/v1/frames/{NO_KEY}?token={ACME.replace(' ', '+')}", token="not " + ACME)
            ask(served.url, "GET", f"/v1/{ACME.replace(' ', '')}", token=ACME)
            ask(served.url, "GET", "/healthz")
        assert [json.loads(line)["caller"] for line in lines] == ["tenant:acme", "", ""]
        assert all(part not in line for line in lines for part in (ACME, ACME.replace(" ", ""), "own token"))


def test_metrics_have_every_counter_with_its_meaning(served):
    found = families(served)
    for name, meaning in NAMES.items():
        assert found[f"kvstore_{name}"].documentation == meaning
        assert values(found[f"kvstore_{name}"]) == {(): 0}


def test_metrics_say_which_tier_gave_a_frame_and_what_was_missed(served, slow):
    (first, frame), (second, other) = whole_frames(2).items()
    put(served.url, first, frame, "?durable=false")
    served.context.service.behind.flush()
    slow.put([(second, other)])
    for key in (first, first, second, NO_KEY):
        ask(served.url, "GET", f"/v1/frames/{key}")
    ask(served.url, "POST", "/v1/match", {"keys": [str(first), NO_KEY]})
    found = families(served)
    assert values(found["kvstore_tier_frames_given"], "tier") == {("memory",): 2, ("second",): 1}
    assert values(found["kvstore_frames_missed"]) == {(): 1}
    assert values(found["kvstore_chunks_asked"]) == {(): 2}
    assert values(found["kvstore_chunks_matched"]) == {(): 1}
    held = values(found["kvstore_tier_bytes"], "tier")
    assert held == {("memory",): len(frame) + len(other), ("second",): len(frame) + len(other)}  # promoted
    assert values(found["kvstore_tier_capacity_bytes"], "tier") == {("memory",): 1 << 20, ("second",): 1 << 20}
    assert values(found["kvstore_sent_bytes"], "route")["/v1/frames/{key}",] > 2 * len(frame) + len(other)
    assert values(found["kvstore_received_bytes"], "route")["/v1/frames/{key}",] == len(frame)


def give_often(served):
    """Often enough that it is known how long that takes."""
    [(key, frame)] = whole_frames(1).items()
    put(served.url, key, frame, "?durable=false")
    for _ in range(20):
        ask(served.url, "GET", f"/v1/frames/{key}")
    return key


def test_metrics_say_how_each_tier_does(served, slow):
    key = give_often(served)
    served.context.service.behind.flush()
    slow.refused.add("size_bytes")
    ask(served.url, "POST", "/v1/match", {"keys": [str(key), NO_KEY]})
    found = families(served)
    assert values(found["kvstore_tier_up"], "tier") == {("memory",): 1, ("second",): 0}
    assert values(found["kvstore_tier_chunks"], "tier") == {("memory",): 1}
    assert values(found["kvstore_tier_chunks_asked"], "tier") == {("memory",): 2, ("second",): 1}
    assert values(found["kvstore_tier_chunks_held"], "tier") == {("memory",): 1, ("second",): 0}
    seconds = values(found["kvstore_tier_seconds"], "tier", "quantile")
    assert 0 < seconds["memory", "0.5"] <= seconds["memory", "0.99"] < 1


def test_metrics_have_a_remote_tier_and_its_replica_and_no_secret():
    with redis_server("--requirepass", ACME, password=ACME) as redis:
        url = f"redis://:{ACME.replace(' ', '%20')}@127.0.0.1:{redis.port}"
        gone = f"redis://:{ADMIN.replace(' ', '%20')}@127.0.0.1:{free_ports(1)[0]}"
        with (
            Tiers([MemoryTier(1 << 20), open_remote(url, replica=gone, deadline_s=5.0)]) as tiers,
            serving(tiers) as served,
        ):
            found = families(served)
            assert values(found["kvstore_tier_up"], "tier") == {("memory",): 1, ("remote",): 1, ("replica",): 0}
            assert values(found["kvstore_tier_bytes"], "tier")["remote",] > 0
            assert values(found["kvstore_breaker_open"], "tier", "verb")["replica", "read"] == 0
            said = ask(served.url, "GET", "/v1/status").json
    remote, replica = said["tiers"][1:]
    assert (remote["available"], remote["chunks"], replica["available"]) == (True, 0, False)
    assert replica["problem"]
    assert not any(secret in json.dumps(said) for secret in (ACME, ADMIN, "%20"))


def test_requests_are_timed_by_route_and_class_of_status(served):
    for path in ("/healthz", f"/v1/frames/{NO_KEY}", "/v1/frames/1", "/some", "/other", "/wp-admin.php"):
        ask(served.url, "GET", path)
    ask(served.url, "BREW", "/pot")
    timed = families(served)["kvstore_request_seconds"]
    counts = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for sample in timed.samples
        if sample.name.endswith("_count")
    }
    unknown = {labels: number for labels, number in counts.items() if labels[1] == "none"}
    assert counts["GET", "/healthz", "2xx"] >= 1
    assert counts["GET", "/v1/frames/{key}", "4xx"] == 2
    assert sum(unknown.values()) in (3, 4)  # what is no method may not get that far


def test_a_tier_that_fails_is_seen_and_left_out(served, slow):
    slow.refused |= {"get", "size_bytes"}
    for number in range(4):
        ask(served.url, "GET", f"/v1/frames/{number:064x}")
    found = families(served)
    assert values(found["kvstore_breaker_open"], "tier", "verb") == {
        ("memory", "read"): 0,
        ("memory", "write"): 0,
        ("second", "read"): 1,
        ("second", "write"): 0,
    }
    assert values(found["kvstore_tier_unavailable"])[()] >= 3
    assert values(found["kvstore_tier_bytes"], "tier") == {("memory",): 0}


def test_metrics_are_for_the_admin_where_there_are_tokens():
    with serving(Tiers([MemoryTier(1 << 20)]), tokens=Tokens(ADMIN, {"acme": ACME})) as served:
        assert ask(served.url, "GET", "/metrics").status == 401
        assert ask(served.url, "GET", "/metrics", token=ACME).status == 403
        assert "kvstore_chunks_saved" in families(served, ADMIN)


def test_the_grafana_dashboard_shows_what_there_is(served):
    ask(served.url, "POST", "/v1/reports", {"engine": "e", "model": "m", "counts": {}})
    give_often(served)
    there = {sample.name for family in families(served).values() for sample in family.samples}
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    text = json.dumps([dashboard["panels"], dashboard["templating"]])
    asked = set(re.findall(r"kvstore_\w+", text))
    assert len(asked) > 20
    assert asked <= there
    events = set(re.findall(r'event=\\"(\w+)', text))
    assert events
    assert events <= NAMES.keys()


def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd here")
    unit = tmp_path / "kvstore.service"
    text = (DOCS / "kvstore.service").read_text()
    unit.write_text(re.sub("^ExecStart=\\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE))
    said = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "kvstore.service" not in said.stderr
    assert said.returncode == 0


@contextmanager
def collector():
    """A collector on a free port: its address, and the bodies that come."""
    bodies = []

    class Collecting(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Collecting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()


def spans_in(bodies):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    resources = [each for body in bodies for each in ExportTraceServiceRequest.FromString(body).resource_spans]
    names = {
        attribute.value.string_value
        for each in resources
        for attribute in each.resource.attributes
        if attribute.key == "service.name"
    }
    return names, [span for each in resources for scope in each.scope_spans for span in scope.spans]


def test_requests_are_spans_where_a_collector_is_named(served, monkeypatch):
    pytest.importorskip("opentelemetry.instrumentation.fastapi")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    with collector() as (url, bodies):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with traced(served.server.app):
            ask(served.url, "GET", f"/v1/frames/{NO_KEY}")
            ask(served.url, "GET", "/healthz")
        services, spans = spans_in(bodies)
    assert services == {"kvstore"}
    assert [span.name for span in spans] == ["GET /v1/frames/{key}"]


def test_nothing_is_traced_unless_a_collector_is_named(served):
    before = served.server.app.build_middleware_stack
    with traced(served.server.app, {}):
        assert served.server.app.build_middleware_stack == before


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_packages_that_are_missing_are_named(served, monkeypatch, variable):
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.fastapi", None)
    tracing = traced(served.server.app, {variable: "http://127.0.0.1:9"})
    with pytest.raises(InvalidRequest, match=rf"{variable} is set.*kvstore\[otel\]"), tracing:
        pass
