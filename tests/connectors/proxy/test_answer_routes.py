"""What is held is searched and dropped by its tenant or the admin; feedback and load come from who may give them."""

import json
import time
from types import SimpleNamespace

import pytest

from connectors.proxy.answer_cache import ExactAnswers
from kvstore import InvalidRequest
from tests.connectors.proxy.conftest import ADMIN, OURS, THEIRS, proxying
from tests.connectors.sidecar.asking import wait_until


class Judged(ExactAnswers):
    """Knows what was said of its answers."""

    def __init__(self):
        super().__init__()
        self.told = []

    def feedback(self, hit_id, tenant, right):
        self.told.append((hit_id, tenant, right))
        return hit_id == "known"


class Told:
    """A load that was told."""

    value = 0.0

    def began(self):
        self.latency_s = None

    def ended(self, latency_s):
        self.latency_s = latency_s

    def tell(self, load, for_s):
        if for_s == 13:
            raise InvalidRequest("an unlucky time")
        self.value = load


@pytest.fixture
def parties(lasting_upstream):
    load = Told()
    with proxying(lasting_upstream, Judged(), load=load) as proxied:
        asks = {name: proxied.ask(token) for name, token in (("admin", ADMIN), ("ours", OURS), ("theirs", THEIRS))}
        yield SimpleNamespace(proxied=proxied, load=load, **asks)


def ask(asking, question, category="faq"):
    messages = [{"role": "user", "content": question}]
    body = {"model": "plain", "messages": messages}
    answer = asking(
        "POST",
        "/v1/chat/completions",
        json.dumps(body),
        {"Content-Type": "application/json", "x-kvstore-category": category},
    )
    assert answer.status == 200


@pytest.fixture
def asked(parties):
    for number in range(3):
        ask(parties.ours, f"Our question {number}", "faq" if number else "code")
    ask(parties.theirs, "Their question")
    wait_until(lambda: len(list(parties.proxied.cache.documents.held())) == 4)
    return parties


def questions(asking, **query):
    return [each["question"] for each in asking("GET", "/v1/answers", **query).json["answers"]]


def test_a_tenant_sees_its_own_answers(asked):
    assert questions(asked.ours) == ["Our question 0", "Our question 1", "Our question 2"]
    assert questions(asked.theirs) == ["Their question"]
    assert len(questions(asked.admin)) == 4
    assert questions(asked.admin, tenant="theirs") == ["Their question"]
    assert asked.ours("GET", "/v1/answers", tenant="theirs").code == "forbidden"
    answer = asked.ours("GET", "/v1/answers").json["answers"][0]
    assert (answer["answer"], answer["writer"], answer["tenant"], answer["expires_at_s"]) == (
        *("Answer 0 to: Our question 0", "tenant:ours", "ours", None),
    )


def test_answers_are_searched(asked):
    assert questions(asked.admin, text="OUR QUESTION 1") == ["Our question 1"]
    assert questions(asked.admin, category="code") == ["Our question 0"]
    assert questions(asked.admin, older_than_s=3600) == []
    assert questions(asked.admin, text="question", category="faq", tenant="ours") == [
        "Our question 1",
        "Our question 2",
    ]


def test_answers_come_in_pages(asked):
    first = asked.ours("GET", "/v1/answers", limit=2).json
    assert len(first["answers"]) == 2
    second = asked.ours("GET", "/v1/answers", limit=2, after=first["next_after"]).json
    assert [each["question"] for each in second["answers"]] == ["Our question 2"]
    assert second["next_after"] is None


def test_answers_are_dropped(asked):
    assert asked.ours("DELETE", "/v1/answers", text="question 1", dry_run=True).json == {"answers": 1, "dropped": False}
    assert asked.ours("DELETE", "/v1/answers", text="question 1").json == {"answers": 1, "dropped": True}
    assert questions(asked.ours) == ["Our question 0", "Our question 2"]
    assert asked.theirs("DELETE", "/v1/answers", category="code").json["answers"] == 0
    assert asked.admin("DELETE", "/v1/answers", tenant="ours").json["answers"] == 2
    assert asked.admin("DELETE", "/v1/answers").code == "invalid-request"
    time.sleep(0.01)
    assert asked.admin("DELETE", "/v1/answers", older_than_s=0).json["answers"] == 1
    assert questions(asked.admin) == []


def test_feedback_is_of_the_tenant_who_gives_it(parties):
    assert parties.ours.post("/v1/feedback", hit_id="known", right=False).json == {"counted": True}
    assert parties.theirs.post("/v1/feedback", hit_id="other", right=True).json == {"counted": False}
    assert parties.ours.post("/v1/feedback", hit_id="known", right=True, tenant="theirs").code == "forbidden"
    assert parties.admin.post("/v1/feedback", hit_id="known", right=True, tenant="theirs").status == 200
    assert parties.ours.post("/v1/feedback", hit_id="known", right="yes").code == "invalid-request"
    assert parties.proxied.cache.told == [
        ("known", "ours", False),
        ("other", "theirs", True),
        ("known", "theirs", True),
    ]


def test_the_load_is_measured_and_may_be_told_by_the_admin(parties):
    assert parties.admin.post("/v1/load", load=0.5).json == {"load": 0.5}
    assert parties.ours.post("/v1/load", load=0.5).code == "forbidden"
    assert parties.admin.post("/v1/load", load=1.5).code == "invalid-request"
    assert parties.admin.post("/v1/load", load=0.5, for_s=13).code == "invalid-request"
    ask(parties.ours, "How long does it take?")
    assert 0 < parties.load.latency_s < 60


def test_categories_are_for_the_admin(parties):
    assert parties.admin("GET", "/v1/categories").json == {"categories": []}
    assert parties.ours("GET", "/v1/categories").code == "forbidden"


def test_without_a_cache_there_is_nothing_to_look_after(parties):
    parties.proxied.front.answering = None
    for method, path in (("GET", "/v1/answers"), ("DELETE", "/v1/answers?text=a"), ("GET", "/v1/categories")):
        assert parties.admin(method, path).code == "no-cache"
    assert parties.admin.post("/v1/feedback", hit_id="a", right=True).code == "no-cache"
    answer = parties.ours.post("/v1/chat/completions", model="plain", messages=[{"role": "user", "content": "a"}])
    assert (answer.headers["x-kvstore-cache"], answer.headers["x-kvstore-cache-why"]) == ("bypass", "there is no cache")
