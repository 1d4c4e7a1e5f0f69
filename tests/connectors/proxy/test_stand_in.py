"""A small model answers for the large one, shown what that answered before; whatever goes wrong, the large one does."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace

import openai
import pytest

from connectors.answering import open_answering
from connectors.proxy.answer_cache import Answering
from connectors.proxy.front import Front
from connectors.proxy.stand_in import StandIn
from connectors.proxy.upstream import Upstream
from connectors.setting_tables import SemanticSettings
from connectors.sidecar.callers import Tokens
from kvstore import Metrics, NoTier, Tiers
from kvstore.breaker import Breaker
from semantic_cache.examples import Limits
from semantic_cache.in_context import InContext
from semantic_cache.router import Choice, Model, Router
from tests.clock import Clock
from tests.connectors.proxy.conftest import ADMIN, OURS, THEIRS
from tests.connectors.proxy.openai_like import Upstream as Asked
from tests.connectors.proxy.openai_like import upstream_serving
from tests.connectors.sidecar.asking import Asking, wait_until
from tests.connectors.sidecar.serving import serving

BEFORE, NOW, OTHER = "How do I return parcel 17?", "How do I return parcel 23?", "How do I return parcel 42?"
SYSTEM = {"role": "system", "content": "Be brief"}


class Scripted(Router):
    """Chooses what it is told, and remembers what it was taught."""

    def __init__(self, model=Model.SMALL):
        self.model, self.lessons = model, []

    def choose(self, features, load):
        small = self.model is Model.SMALL
        return Choice(self.model, small and features.num_examples > 0, features)

    def learn(self, choice, quality):
        self.lessons.append((choice.model, choice.examples, quality))

    def to_json(self):
        return {}

    def restore(self, said):
        return


@dataclass(frozen=True)
class Standing:
    served: object
    answering: Answering
    front: Front
    large: Asked
    small: Asked
    router: Scripted

    def client(self, token=OURS):
        return openai.OpenAI(base_url=f"{self.served.url}/v1", api_key=token, max_retries=0, timeout=30.0)

    def ask(self, question, token=OURS, headers=None, model="plain", system=None, **more):
        """The headers and the text, or the chunks' texts."""
        messages = [*([system] if system else []), {"role": "user", "content": question}]
        given = {"x-kvstore-category": "support", **(headers or {})}
        with self.client(token) as client:
            raw = client.chat.completions.with_raw_response.create(
                model=model, messages=messages, extra_headers=given, **more
            )
            answer = raw.parse()
            if more.get("stream"):
                return raw.headers, "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
            return raw.headers, answer.choices[0].message.content

    def first(self, *questions, **more):
        """Asks the large model, and waits until its answers are kept."""
        self.router.model = Model.LARGE
        for question in questions:
            held = len(self.held())
            self.ask(question, **more)
            wait_until(lambda number=held: len(self.held()) == number + 1)
        self.router.model = Model.SMALL

    def held(self):
        return [self.answering.documents.get(held.id) for held in self.answering.documents.held()]

    def feedback(self, hit_id, right, token=OURS):
        body = json.dumps({"hit_id": hit_id, "right": right})
        answer = Asking(self.served, token)("POST", "/v1/feedback", body, {"Content-Type": "application/json"})
        return json.loads(answer.body)["counted"]


@pytest.fixture(scope="module")
def upstreams():
    with upstream_serving() as large, upstream_serving() as small:
        yield large, small


@pytest.fixture
def standing(upstreams, tmp_path):
    return lambda *given, **more: standing_in(upstreams, tmp_path, *given, **more)


@contextmanager
def standing_in(upstreams, path, small_model="tiny", compared=0.0, timeout_s=20.0, router=None):
    (large, large_url), (small, small_url) = upstreams
    for each in (large, small):
        each.asked.clear()
        each.headers.clear()
    router = router or Scripted()
    with open_answering(SemanticSettings(path / "answers", embedder="lexical")) as answering:
        in_context = InContext(["support"], Limits(relevant_cosine=0.2), router=router)
        answering = replace(answering, in_context=in_context)
        stand_in = StandIn(Upstream(small_url, "the small key", timeout_s), small_model, answering, compared)
        front = Front(Upstream(large_url, "the large key", 20.0), answering, stand_in=stand_in)
        tokens = Tokens(ADMIN, {"ours": OURS, "theirs": THEIRS})
        with serving(Tiers([NoTier()]), Metrics(), tokens, front=front) as served:
            yield Standing(served, answering, front, large, small, router)


@pytest.mark.parametrize("stream", [False, True])
def test_the_small_model_answers_and_is_shown_what_the_large_one_answered(standing, stream):
    with standing() as each:
        each.first(BEFORE, system=SYSTEM)
        headers, said = each.ask(NOW, system=SYSTEM, stream=stream)
        assert said == f"Answer 0 to: {NOW}"
        assert (headers["x-kvstore-cache"], headers["x-kvstore-model"], headers["x-kvstore-examples"]) == (
            *("miss", "tiny"),
            "1",
        )
        assert (each.large.num_asked, each.small.num_asked) == (1, 1)
        asked = each.small.asked[0]
        assert asked["model"] == "tiny"
        assert asked["messages"] == [
            SYSTEM,
            {"role": "user", "content": f"[Example 1 of 1]\n{BEFORE}"},
            {"role": "assistant", "content": f"Answer 0 to: {BEFORE}"},
            {"role": "user", "content": NOW},
        ]
        assert each.small.headers[0]["authorization"] == "Bearer the small key"
        assert each.front.counts["small"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_small_model_said_is_not_kept(standing, stream):
    with standing() as each:
        each.first(BEFORE)
        for number in range(2):
            headers, _ = each.ask(NOW, stream=stream)
            assert (headers["x-kvstore-cache"], each.small.num_asked) == ("miss", number + 1)
        assert [document.query.text for document in each.held()] == [BEFORE]
        assert {document.query.model for document in each.held()} == {"plain"}


def test_no_tenant_model_instruction_or_sampling_sees_anothers_examples(standing):
    with standing() as each:
        each.first(BEFORE, system=SYSTEM)
        for more in ({"token": THEIRS}, {"system": None}, {"model": "other"}, {"temperature": 0.5}):
            headers, _ = each.ask(NOW, **{"system": SYSTEM, **more})
            assert (headers["x-kvstore-model"], headers["x-kvstore-examples"]) == ("tiny", "0")
        assert BEFORE not in json.dumps(each.small.asked)


LEFT_TO_THE_LARGE = {
    "tools": {"tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]},
    "several": {"n": 2},
    "no-cache": {"headers": {"cache-control": "no-cache"}},
    "no-store": {"headers": {"cache-control": "no-store"}},
    "bypass": {"headers": {"x-kvstore-cache": "bypass"}},
    "a category that is": {"headers": {"x-kvstore-category": "medical"}},
    "what is soon no longer so": {"question": "What is the weather in Oslo today?", "headers": {}},
    "the small model itself": {"model": "tiny"},
}


@pytest.mark.parametrize("left", LEFT_TO_THE_LARGE.values(), ids=LEFT_TO_THE_LARGE)
def test_some_questions_are_the_large_models_alone(standing, left):
    with standing() as each:
        headers, _ = each.ask(**{"question": NOW, **left})
        assert "x-kvstore-examples" not in headers
        assert (each.large.num_asked, each.small.num_asked) == (1, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("small_model", ["error-400", "error-429", "error-500", "redirect", "hang"])
def test_the_large_model_answers_where_the_small_one_does_not(standing, small_model, stream):
    with standing(small_model, timeout_s=0.2) as each:
        headers, said = each.ask(NOW, stream=stream)
        assert said == f"Answer 0 to: {NOW}"
        assert (headers["x-kvstore-cache"], headers["x-kvstore-model"]) == ("miss", "plain")
        assert "x-kvstore-examples" not in headers
        assert each.front.stand_in.counts["small_failed"] == 1
        wait_until(lambda: len(each.held()) == 1)


@pytest.mark.parametrize(
    "small_model", ["dies", "no-json", "length", "filter", "refusal", "silent", "tools", "no-usage"]
)
def test_the_large_model_answers_where_the_small_ones_answer_is_not_whole(standing, small_model):
    with standing(small_model) as each:
        headers, said = each.ask(NOW)
        assert (headers["x-kvstore-model"], said) == ("plain", f"Answer 0 to: {NOW}")
        lessons = [] if small_model == "dies" else [(Model.SMALL, False, 0.0)]
        assert each.router.lessons == lessons


def test_a_small_model_that_is_down_is_not_asked_each_time_until_it_is_back(standing):
    with standing("error-500") as each:
        clock = Clock(0.0)
        each.front.stand_in._breaker = Breaker(clock=clock)
        for number in range(6):
            each.ask(f"Question number {number}?")
        assert each.small.num_asked == 3
        each.front.stand_in._model = "tiny"
        clock.now_s += 2.0
        assert each.ask("And one more?")[0]["x-kvstore-model"] == "tiny"


def test_where_searching_for_answers_does_not_pay_examples_are_looked_for_all_the_same(standing):
    with standing() as each:
        each.first(BEFORE)
        each.answering.cache.break_even.worth_searching = lambda category: False
        headers, _ = each.ask(NOW)
        assert (headers["x-kvstore-model"], headers["x-kvstore-examples"]) == ("tiny", "1")


def test_feedback_teaches_the_router_of_either_model(standing):
    with standing() as each:
        each.first(BEFORE)
        headers, _ = each.ask(NOW)
        assert not each.feedback(headers["x-kvstore-hit-id"], True, THEIRS)
        assert each.feedback(headers["x-kvstore-hit-id"], True)
        assert not each.feedback(headers["x-kvstore-hit-id"], True)
        each.router.model = Model.LARGE
        headers, _ = each.ask(OTHER)
        assert each.feedback(headers["x-kvstore-hit-id"], False)
        assert each.router.lessons == [(Model.SMALL, True, 1.0), (Model.LARGE, False, 0.0)]


@pytest.mark.parametrize(("small_model", "quality"), [("tiny", 1.0), ("tools", 0.0)])
def test_what_the_large_model_answers_is_compared_with_the_small_ones(standing, small_model, quality):
    with standing(small_model, compared=1.0, router=Scripted(Model.LARGE)) as each:
        headers, _ = each.ask(NOW, stream=True)
        assert headers["x-kvstore-model"] == "plain"
        wait_until(lambda: each.router.lessons)
        assert each.router.lessons == [(Model.SMALL, False, quality)]
        assert "stream" not in each.small.asked[0]


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_small_model_answers_is_compared_with_the_large_ones_which_is_kept(standing, stream):
    with standing(compared=1.0) as each:
        headers, _ = each.ask(NOW, stream=stream)
        assert headers["x-kvstore-model"] == "tiny"
        wait_until(lambda: each.router.lessons)
        assert each.router.lessons == [(Model.SMALL, False, 1.0)]
        headers, _ = each.ask(NOW)
        assert headers["x-kvstore-cache"] == "hit"
        assert (each.large.num_asked, each.small.num_asked) == (1, 1)


def test_an_example_that_keeps_failing_is_computed_again_while_nobody_waits(standing):
    with standing("reasons", compared=1.0) as each:
        each.front.stand_in.compared = 0.0
        each.first(BEFORE, system=SYSTEM)
        (before,) = each.answering.documents.held()
        for _ in range(5):
            headers, _ = each.ask(NOW, system=SYSTEM)
            each.feedback(headers["x-kvstore-hit-id"], False)
        each.front.stand_in.compared = 1.0
        each.ask(OTHER, system=SYSTEM)
        wait_until(lambda: each.front.stand_in.counts["replayed"] == 1)
        assert each.answering.documents.get(before.id) is None
        assert BEFORE in [document.query.text for document in each.held()]
        again = each.large.asked[-1]
        assert again["messages"] == [SYSTEM, {"role": "user", "content": BEFORE}]


def test_what_is_explored_is_the_large_models_and_teaches_what_the_small_one_is_worth(standing):
    with standing(compared=1.0) as each:
        each.front.stand_in.compared = 0.0
        each.first("How do I return a broken lamp?")
        each.front.stand_in.compared = 1.0
        headers, _ = each.ask("How do I return a broken chair?")
        assert headers["x-kvstore-model"] == "plain"
        wait_until(lambda: each.router.lessons)


def test_what_was_decided_is_explained(standing):
    with standing() as each:
        each.first(BEFORE)
        headers, _ = each.ask(NOW, headers={"x-kvstore-explain": "true"})
        said = json.loads(headers["x-kvstore-explanation"])["in_context"]
        assert (said["model"], said["examples"][0]["asked"]) == ("tiny", BEFORE)
        assert 0 <= said["quality_without"] <= said["quality_with"] <= 1


def test_without_one_all_is_as_before(upstreams, tmp_path):
    (large, large_url), _ = upstreams
    large.asked.clear()
    with open_answering(SemanticSettings(tmp_path / "answers", embedder="lexical")) as answering:
        front = Front(Upstream(large_url), answering)
        with serving(Tiers([NoTier()]), Metrics(), Tokens(ADMIN, {"ours": OURS}), front=front) as served:
            each = Standing(served, answering, front, large, large, Scripted())
            headers, _ = each.ask(NOW)
            assert not {"x-kvstore-model", "x-kvstore-examples", "x-kvstore-hit-id"} & headers.keys()
            wait_until(lambda: len(each.held()) == 1)
            assert b'"asked"' not in each.held()[0].response
