"""What was asked before is answered from the cache, in whatever way it is asked for, and never anything else."""

import concurrent.futures
import json
import threading
from contextlib import ExitStack
from dataclasses import replace

import openai
import pytest

from connectors.proxy.answer_cache import ExactAnswers
from connectors.proxy.computing import Terms
from kvstore import TierUnavailable
from semantic_cache.decision import Decision, Outcome
from tests.clock import Clock
from tests.connectors.proxy.conftest import OURS, THEIRS, proxying
from tests.connectors.proxy.openai_like import TOOL_CALL
from tests.connectors.sidecar.asking import wait_until

QUESTION = [{"role": "user", "content": "What is the capital of Norway?"}]
ANSWER = "Answer 0 to: What is the capital of Norway?"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def asked(client, model="plain", messages=QUESTION, headers=None, **more):
    """The headers and the answer; of a stream its chunks."""
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=messages, extra_headers=headers, **more
    )
    answer = raw.parse()
    return raw.headers, list(answer) if more.get("stream") else answer


def of(headers):
    return headers["x-kvstore-cache"]


def kept(proxied, number=1):
    """Waits until so many answers are."""
    wait_until(lambda: len(list(proxied.cache.documents.held())) == number)
    wait_until(lambda: not len(proxied.front._flights))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_an_answer_is_replayed_as_it_is_asked_for(proxied, client, first, second):
    headers, _ = asked(client, stream=first)
    assert of(headers) == "miss"
    kept(proxied)
    headers, answer = asked(client, stream=second)
    assert (of(headers), headers["x-kvstore-cache-rung"], headers["age"]) == ("hit", "exact", "0")
    assert headers["x-kvstore-category"] == "default"
    assert headers["x-kvstore-hit-id"]
    if second:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == ANSWER
        assert answer[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].finish_reason for chunk in answer][-1] == "stop"
        assert len(answer) > 3
        assert all(chunk.usage is None for chunk in answer)
    else:
        assert answer.choices[0].message.content == ANSWER
        assert answer.usage.total_tokens == 12
        assert (answer.id != "up-1", answer.created > 1, answer.model) == (True, True, "plain")
    assert proxied.upstream.num_asked == 1


def test_usage_is_replayed_to_who_asks_for_it_and_hidden_from_who_does_not(proxied, client):
    _, chunks = asked(client, stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert proxied.upstream.asked[0]["stream_options"] == {"include_usage": True}
    kept(proxied)
    _, chunks = asked(client, stream=True, stream_options={"include_usage": True})
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 12)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("model", ["tools", "reasons"])
def test_tool_calls_and_reasoning_are_replayed(proxied, client, model, first, second):
    more = {"tools": TOOLS} if model == "tools" else {}
    _, before = asked(client, model=model, stream=second, **more)
    kept(proxied)
    asked(client, model=model, stream=first, headers={"x-kvstore-cache": "refresh"}, **more)
    wait_until(lambda: proxied.upstream.num_asked == 2 and not len(proxied.front._flights))
    headers, after = asked(client, model=model, stream=second, **more)
    assert of(headers) == "hit"
    assert essence(after) == essence(before)


def essence(answer):
    """What was said, however it was cut."""
    if not isinstance(answer, list):
        message = answer.choices[0].message
        return message.content, getattr(message, "reasoning_content", None), message.tool_calls, answer.usage
    deltas = [chunk.choices[0].delta for chunk in answer]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    return (
        "".join(delta.content or "" for delta in deltas),
        "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas),
        "".join(call.function.arguments or "" for call in calls),
        [call.id for call in calls if call.id],
    )


def test_choices_are_replayed(proxied, client):
    asked(client, n=3)
    kept(proxied)
    headers, chunks = asked(client, n=3, stream=True)
    assert of(headers) == "hit"
    said = dict.fromkeys(range(3), "")
    for chunk in chunks:
        said[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert said == {index: ANSWER.replace("0", str(index)) for index in range(3)}


def test_raw_completions_are_replayed(proxied, client):
    ask = client.completions.create
    before = ask(model="plain", prompt="Once", stream=False).choices[0].text
    kept(proxied)
    assert "".join(chunk.choices[0].text for chunk in ask(model="plain", prompt="Once", stream=True)) == before
    assert proxied.upstream.num_asked == 1


DIFFERENT = {
    "another word": {"messages": [{"role": "user", "content": "What is the capital of Sweden?"}]},
    "another model": {"model": "other"},
    "instructions": {"messages": [{"role": "system", "content": "Be rude"}, *QUESTION]},
    "a history": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}, *QUESTION]},
    "tools": {"tools": TOOLS},
    "temperature": {"temperature": 0},
    "top_p": {"top_p": 0.5},
    "max_tokens": {"max_tokens": 3},
    "stop": {"stop": ["x"]},
    "seed": {"seed": 1},
    "a format": {"response_format": {"type": "json_object"}},
    "several": {"n": 2},
    "what nobody knows": {"extra_body": {"guided_json": {"type": "object"}}},
    "a name": {"messages": [{**QUESTION[0], "name": "bob"}]},
    "in parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]},
}


@pytest.mark.parametrize("different", DIFFERENT.values(), ids=DIFFERENT)
def test_another_question_is_computed(proxied, client, different):
    asked(client)
    kept(proxied)
    headers, _ = asked(client, **different)
    assert of(headers) == "miss"
    assert proxied.upstream.num_asked == 2


def test_who_asks_and_how_it_is_sent_makes_no_difference(proxied, client):
    asked(client)
    kept(proxied)
    messages = [{"content": " What is the capital of Norway?\r\n", "role": "user"}]
    headers, _ = asked(client, messages=messages, user="bob", metadata={"a": "b"}, stream=True)
    assert of(headers) == "hit"


BYPASSED = {
    "an image": {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}
        ]
    },
    "probabilities": {"logprobs": True},
    "variety": {"temperature": 1.5},
    "sound": {"modalities": ["text", "audio"]},
    "a tool's turn": {"messages": [*QUESTION, {"role": "tool", "tool_call_id": "c", "content": "x"}]},
}


@pytest.mark.parametrize("bypassed", [each for each in BYPASSED if each not in ("an image",)])
def test_what_is_no_question_goes_by_the_cache(proxied, client, bypassed):
    for _ in range(2):
        headers, _ = asked(client, **BYPASSED[bypassed])
        assert of(headers) == "bypass"
        assert headers["x-kvstore-cache-why"]
    assert proxied.upstream.num_asked == 2


NOT_KEPT = ["length", "filter", "refusal", "silent", "no-usage", "negative-usage", "free-usage", "small-usage"]


@pytest.mark.parametrize("model", [*NOT_KEPT, "error-500"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_whole_is_not_kept(proxied, model, stream):
    ask = proxied.ask()
    for _ in range(2):
        answer = ask.post("/v1/chat/completions", model=model, messages=QUESTION, stream=stream)
        assert answer.headers["x-kvstore-cache"] == "miss"
        wait_until(lambda: not len(proxied.front._flights))
    assert proxied.upstream.num_asked == 2
    assert not list(proxied.cache.documents.held())


@pytest.mark.parametrize("model", ["dies", "no-done", "error-event", "no-json"])
def test_what_breaks_off_is_not_kept(proxied, client, model):
    for _ in range(2):
        with_error = model in ("dies", "error-event", "no-json")
        try:
            asked(client, model=model, stream=model != "no-json")
        except (openai.APIError, json.JSONDecodeError):
            assert with_error
        wait_until(lambda: not len(proxied.front._flights))
    assert proxied.upstream.num_asked == 2
    assert not list(proxied.cache.documents.held())


def test_what_was_cut_off_is_kept_where_that_is_allowed(lasting_upstream):
    with proxying(lasting_upstream, terms=Terms(keeps_cut_off=True)) as proxied, proxied.client() as client:
        asked(client, model="length")
        kept(proxied)
        headers, answer = asked(client, model="length")
        assert (of(headers), answer.choices[0].finish_reason) == ("hit", "length")


def test_a_stream_that_is_left_behind_its_end_is_kept(proxied, client):
    stream = client.chat.completions.create(model="plain", messages=QUESTION, stream=True)
    for chunk in stream:
        if chunk.choices[0].finish_reason:
            break
    stream.close()
    wait_until(lambda: not len(proxied.front._flights))
    assert proxied.upstream.num_asked == 1


def test_tenants_have_answers_of_their_own(proxied):
    with proxied.client(OURS) as ours, proxied.client(THEIRS) as theirs:
        asked(ours)
        kept(proxied)
        assert of(asked(theirs)[0]) == "miss"
        kept(proxied, 2)
        assert of(asked(ours)[0]) == of(asked(theirs)[0]) == "hit"
    assert {each.query.tenant: each.writer for each in documents(proxied)} == {
        "ours": "tenant:ours",
        "theirs": "tenant:theirs",
    }


def documents(proxied):
    return [proxied.cache.documents.get(held.id) for held in proxied.cache.documents.held()]


def test_an_answer_to_anothers_question_is_none(lasting_upstream):
    """Whatever the cache says."""

    class Lies(ExactAnswers):
        def find(self, query):
            (held,) = list(self.documents.held()) or [None]
            document = held and self.documents.get(held.id)
            return Decision(Outcome.EXACT, "trust me", "", document=document) if document else super().find(query)

    with proxying(lasting_upstream, Lies()) as proxied:
        with proxied.client(OURS) as ours:
            asked(ours)
        kept(proxied)
        with proxied.client(THEIRS) as theirs:
            assert of(asked(theirs)[0]) == "miss"


def test_forwarded_authorizations_have_answers_of_their_own(lasting_upstream):
    with proxying(lasting_upstream, forwards_authorization=True) as proxied, proxied.client() as client:
        asked(client)
        kept(proxied)
        assert of(asked(client)[0]) == "hit"
        assert of(asked(client, headers={"OpenAI-Organization": "another"})[0]) == "miss"


WISHES = {
    "no-cache": ({"cache-control": "no-cache"}, "miss", 1),
    "no-store": ({"cache-control": "no-store"}, "miss", 0),
    "bypass": ({"x-kvstore-cache": "bypass"}, "bypass", 0),
    "refresh": ({"x-kvstore-cache": "refresh"}, "miss", 1),
    "no time at all": ({"x-kvstore-ttl-s": "0"}, "miss", 0),
}


@pytest.mark.parametrize(("headers", "said", "held"), WISHES.values(), ids=WISHES)
def test_callers_say_what_the_cache_may_do(proxied, client, headers, said, held):
    assert of(asked(client, headers=headers)[0]) == said
    wait_until(lambda: not len(proxied.front._flights))
    assert len(list(proxied.cache.documents.held())) == held
    if headers != {"cache-control": "no-store"} and held:
        assert of(asked(client)[0]) == "hit"
        assert of(asked(client, headers=headers)[0]) == said


def test_only_what_is_held_may_be_asked_for(proxied, client):
    with pytest.raises(openai.InternalServerError) as met:
        asked(client, headers={"cache-control": "only-if-cached"})
    assert (met.value.status_code, met.value.code) == (504, "not-cached")
    assert met.value.response.headers["x-should-retry"] == "false"
    assert proxied.upstream.num_asked == 0
    asked(client)
    kept(proxied)
    assert of(asked(client, headers={"cache-control": "only-if-cached"})[0]) == "hit"


def test_an_age_may_be_asked_for(lasting_upstream):
    clock = Clock(1000.0)
    with proxying(lasting_upstream, ExactAnswers(clock=clock), clock=clock) as proxied, proxied.client() as client:
        asked(client, headers={"x-kvstore-ttl-s": "100"})
        kept(proxied)
        clock.now_s += 60
        headers, _ = asked(client, headers={"cache-control": "max-age=60"})
        assert (of(headers), headers["age"]) == ("hit", "60")
        younger = {"cache-control": "max-age=59", "x-kvstore-ttl-s": "100"}
        assert "older" in asked(client, headers=younger)[0]["x-kvstore-cache-why"]
        wait_until(lambda: not len(proxied.front._flights))
        clock.now_s -= 1000  # a clock that was set back
        assert asked(client)[0]["age"] == "0"
        clock.now_s += 2000
        assert of(asked(client)[0]) == "miss"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-kvstore-cache": "please"},
        {"x-kvstore-category": "a b"},
        {"x-kvstore-category": "x" * 65},
        {"x-kvstore-ttl-s": "-1"},
        {"x-kvstore-ttl-s": "nan"},
        {"x-kvstore-explain": "yes"},
        {"cache-control": "only-if-cached, no-cache"},
    ],
)
def test_wishes_that_are_none_are_refused(client, headers):
    with pytest.raises(openai.UnprocessableEntityError) as met:
        asked(client, headers=headers)
    assert met.value.code == "invalid-request"


def test_a_decision_is_explained(proxied, client):
    asked(client, headers={"x-kvstore-category": "docs"})
    kept(proxied)
    headers, _ = asked(client, headers={"x-kvstore-explain": "true"})
    explained = json.loads(headers["x-kvstore-explanation"])
    assert (explained["category"], explained["writer"], explained["outcome"]) == ("docs", "admin", "exact")
    assert headers["x-kvstore-category"] == "docs"


def test_a_cache_that_fails_costs_its_answers_alone(lasting_upstream):
    class Broken(ExactAnswers):
        def find(self, query):
            raise TierUnavailable("the disk is gone")

        def add(self, *arguments):
            raise TierUnavailable("the disk is gone")

    with proxying(lasting_upstream, Broken()) as proxied, proxied.client() as client:
        headers, answer = asked(client)
        assert answer.choices[0].message.content == ANSWER
        assert of(headers) == "miss"


def test_what_is_held_and_cannot_be_read_is_a_miss(proxied, client):
    asked(client)
    kept(proxied)
    (document,) = documents(proxied)
    for response in (b"", b"{", b"[]", b"{}", document.response[:-5], document.response.replace(b"choices", b"chosen")):
        proxied.cache.documents.put(replace(document, response=response), None)
        headers, answer = asked(client)
        assert (of(headers), answer.choices[0].message.content) == ("miss", ANSWER)
        wait_until(lambda: not len(proxied.front._flights))


@pytest.mark.parametrize("stream", [False, True])
def test_a_hundred_who_ask_the_same_at_once_make_one_call(proxied, client, stream):
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        waiting = [pool.submit(asked, client, model="gated", stream=stream) for _ in range(100)]
        wait_until(lambda: sum(f.answer.num_readers for f in proxied.front._flights._shared.values()) == 100)
        proxied.upstream.gate.set()
        answers = [each.result() for each in waiting]
    assert proxied.upstream.num_asked == 1
    for headers, answer in answers:
        assert of(headers) == "miss"
        said = (
            "".join(c.choices[0].delta.content or "" for c in answer) if stream else answer.choices[0].message.content
        )
        assert said == ANSWER
    assert sum("under way" in headers["x-kvstore-cache-why"] for headers, _ in answers) == 99


def test_followers_are_told_the_leaders_error(proxied, client):
    def failing():
        with pytest.raises(openai.RateLimitError) as met:
            asked(client, model="error-429")
        return met.value.response.headers["retry-after"]

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert {each.result() for each in [pool.submit(failing) for _ in range(5)]} == {"7"}


def test_a_call_goes_on_while_anybody_waits_for_it(proxied, client):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        leader = client.chat.completions.create(model="gated-mid", messages=QUESTION, stream=True)
        next(leader)
        follower = pool.submit(asked, client, model="gated-mid", stream=True)
        wait_until(lambda: proxied_readers(proxied) == 2)
        leader.close()
        wait_until(lambda: proxied_readers(proxied) == 1)
        proxied.upstream.gate.set()
        _, chunks = follower.result()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert proxied.upstream.num_asked == 1


def proxied_readers(proxied):
    return sum(flight.answer.num_readers for flight in proxied.front._flights._shared.values())


def test_tenants_do_not_share_what_is_under_way(proxied):
    with ExitStack() as stack:
        clients = [stack.enter_context(proxied.client(token)) for token in (OURS, THEIRS)]
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(2))
        waiting = [pool.submit(asked, each, model="gated") for each in clients]
        wait_until(lambda: proxied.upstream.num_asked == 2)
        proxied.upstream.gate.set()
        assert all(of(each.result()[0]) == "miss" for each in waiting)


def test_what_is_barred_is_not_shared_either(lasting_upstream):
    class Bars(ExactAnswers):
        def find(self, query):
            return Decision(Outcome.BARRED, "it is personal", "personal")

    with proxying(lasting_upstream, Bars()) as proxied, proxied.client() as client:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            answers = [each.result() for each in [pool.submit(asked, client, model="slow") for _ in range(3)]]
        assert [of(headers) for headers, _ in answers] == ["bypass"] * 3
        assert {headers["x-kvstore-category"] for headers, _ in answers} == {"personal"}
        assert proxied.upstream.num_asked == 3
        assert not list(proxied.cache.documents.held())


class Telling(ExactAnswers):
    """Decides of what it holds so as it is told, and keeps what it is told of it."""

    def __init__(self, **decided):
        super().__init__()
        self._decided, self.told, self.is_told = decided, [], threading.Event()

    def find(self, query):
        decision = super().find(query)
        return replace(decision, hit_id="h", **self._decided) if decision.document else decision

    def feedback(self, hit_id, tenant, right):
        self.told.append((hit_id, tenant, right))
        self.is_told.set()
        return True


def test_an_exploration_is_computed_and_learned_from(lasting_upstream):
    cache = Telling(outcome=Outcome.EXPLORE)
    with proxying(lasting_upstream, cache) as proxied, proxied.client() as client:
        asked(client)
        kept(proxied)
        assert of(asked(client)[0]) == "miss"
        assert cache.is_told.wait(30)
        assert cache.told == [("h", "", True)]
        assert proxied.upstream.num_asked == 2


@pytest.mark.parametrize("second", [False, True])
def test_a_hit_that_is_to_be_checked_is_served_and_computed_beside(lasting_upstream, second):
    cache = Telling(check=True)
    with proxying(lasting_upstream, cache) as proxied, proxied.client() as client:
        asked(client)
        kept(proxied)
        headers, _ = asked(client, stream=second)
        assert of(headers) == "hit"
        assert cache.is_told.wait(30)
        assert cache.told == [("h", "", True)]
        assert proxied.upstream.num_asked == 2
        wait_until(lambda: not proxied.front._checks)


def test_what_is_not_to_be_kept_is_not_checked_either(lasting_upstream):
    with proxying(lasting_upstream, Telling(check=True)) as proxied, proxied.client() as client:
        asked(client)
        kept(proxied)
        assert of(asked(client, headers={"cache-control": "no-store"})[0]) == "hit"
        assert not proxied.front._checks
        assert proxied.upstream.num_asked == 1


def test_the_tool_call_that_is_replayed_is_the_one_that_was_made(proxied, client):
    asked(client, model="tools", tools=TOOLS)
    kept(proxied)
    _, answer = asked(client, model="tools", tools=TOOLS)
    assert answer.choices[0].message.tool_calls[0].model_dump() == TOOL_CALL
