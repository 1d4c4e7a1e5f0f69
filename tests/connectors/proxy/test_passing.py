"""What is not answered from the cache is passed through as it is, both ways, for OpenAI's own client."""

import threading
import time

import openai
import pytest

from connectors.proxy.answer_cache import ExactAnswers
from tests.connectors.proxy.conftest import proxying
from tests.connectors.proxy.openai_like import TOOL_CALL
from tests.connectors.sidecar.asking import wait_until, wire

QUESTION = [{"role": "user", "content": "What is the capital of Norway?"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def asked(client, model="plain", messages=QUESTION, **more):
    return client.chat.completions.create(model=model, messages=messages, **more)


def test_an_answer_is_the_upstreams(client, proxied):
    answer = asked(client)
    assert answer.choices[0].message.content == "Answer 0 to: What is the capital of Norway?"
    assert answer.usage.total_tokens == 12
    assert proxied.upstream.asked == [{"model": "plain", "messages": QUESTION}]


def test_a_stream_comes_in_the_upstreams_chunks(client):
    chunks = list(asked(client, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks][1:-1] == [
        *("Answer ", "0 ", "to: ", "What ", "is ", "the ", "capital ", "of ", "Norway?")
    ]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_bytes_are_passed_unchanged(proxied):
    raw = proxied.ask().post("/v1/chat/completions", model="plain", messages=QUESTION, stream=True, logprobs=True)
    assert raw.headers["x-from"] == "upstream"
    assert raw.headers["x-kvstore-cache"] == "bypass"
    assert raw.body.startswith(b'data: {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model"')
    assert raw.body.endswith(b"data: [DONE]\n\n")
    assert b"usage" not in raw.body


def test_usage_comes_at_the_end_of_a_stream_for_who_asks(client, proxied):
    *_, last = asked(client, stream=True, stream_options={"include_usage": True})
    assert (last.choices, last.usage.total_tokens) == ([], 12)
    assert proxied.upstream.asked[0]["stream_options"] == {"include_usage": True}


def test_chunks_are_passed_on_as_they_come(client):
    times = [(time.monotonic(), chunk) for chunk in asked(client, model="paced", stream=True)]
    assert times[-1][0] - times[0][0] > 0.1


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called(client, stream):
    answer = asked(client, model="tools", tools=TOOLS, stream=stream)
    if stream:
        calls = [each for chunk in answer for each in chunk.choices[0].delta.tool_calls or ()]
        assert "".join(each.function.arguments for each in calls) == TOOL_CALL["function"]["arguments"]
        assert (calls[0].id, calls[0].function.name) == ("call_1", "weather")
    else:
        assert answer.choices[0].message.tool_calls[0].model_dump() == TOOL_CALL


def test_there_are_as_many_choices_as_asked_for(client):
    assert [choice.message.content[:8] for choice in asked(client, n=3).choices] == ["Answer 0", "Answer 1", "Answer 2"]
    assert {chunk.choices[0].index for chunk in asked(client, n=3, stream=True)} == {0, 1, 2}


def test_raw_completions_are_passed(client):
    answer = client.completions.create(model="plain", prompt="Once upon a time")
    assert answer.choices[0].text == " continued 0 after Once upon a time"
    assert (
        "".join(chunk.choices[0].text for chunk in client.completions.create(model="plain", prompt="Then", stream=True))
        == " continued 0 after Then"
    )


def test_models_and_embeddings_are_the_upstreams(client):
    assert [model.id for model in client.models.list()] == ["plain"]
    assert client.embeddings.create(model="e", input="text").data[0].embedding == [0.5, 0.25]


@pytest.mark.parametrize("model", ["plain", "house/plain-7b", "ft:plain:house::1", "é ?"])
def test_a_model_is_the_upstreams(client, model):
    assert client.models.retrieve(model).id == model


@pytest.mark.parametrize("way", ["..", "../../secret", "a/../../../secret", "%2e%2e/%2e%2e/secret", ".", "", "a//b"])
def test_a_model_is_no_way_to_what_else_the_upstream_has(proxied, way):
    assert proxied.ask()("GET", f"/v1/models/{way}").code == "not-found"
    assert proxied.upstream.num_asked == 0


def test_what_there_is_not_is_said_with_what_there_is(client):
    for ask in (client.files.list, lambda: client.responses.create(model="plain", input="Hello")):
        with pytest.raises(openai.NotFoundError, match=r"POST /v1/chat/completions, .*GET /v1/models/\{model\}") as met:
            ask()
        assert met.value.code == "not-found"
    with pytest.raises(openai.APIStatusError) as met:
        client.models.delete("plain")
    assert met.value.status_code == 405


@pytest.mark.parametrize(
    ("model", "raised"),
    [
        ("error-400", openai.BadRequestError),
        ("error-401", openai.AuthenticationError),
        ("error-429", openai.RateLimitError),
        ("error-500", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_upstreams(client, model, raised, stream):
    with pytest.raises(raised) as met:
        asked(client, model=model, stream=stream)
    assert met.value.body["message"] == f"{model}, as you wished"
    assert (met.value.param, met.value.code) == ("model", "wished")
    headers = met.value.response.headers
    assert headers["x-upstream-request-id"] == "upstream-1"
    assert "set-cookie" not in headers
    if model == "error-429":
        assert (headers["retry-after"], headers["x-ratelimit-remaining-requests"]) == ("7", "0")


def test_a_body_that_is_none_is_the_upstreams_to_refuse(proxied):
    for body in (b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000, b'{"model": NaN}'):
        answer = proxied.ask()("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        assert answer.headers["x-kvstore-cache"] == "bypass"
    assert proxied.upstream.num_asked == 6


def test_an_answer_that_breaks_off_does_not_look_whole(client):
    with pytest.raises(openai.APIConnectionError):
        list(asked(client, model="dies", stream=True))
    with pytest.raises(openai.APIConnectionError):
        asked(client, model="dies")


def test_an_upstream_that_is_not_there_is_an_error_that_says_so(lasting_upstream):
    upstream, _ = lasting_upstream
    with proxying((upstream, "http://127.0.0.1:9/v1")) as proxied, proxied.client() as client:
        with pytest.raises(openai.InternalServerError) as met:
            asked(client)
        assert (met.value.status_code, met.value.code) == (502, "upstream-failed")
        assert "is it running?" in met.value.message
        assert "127.0.0.1" not in met.value.message


def test_an_upstream_that_says_nothing_is_waited_for_so_long(lasting_upstream):
    with proxying(lasting_upstream, timeout_s=0.2) as proxied, proxied.client() as client:
        with pytest.raises(openai.InternalServerError) as met:
            asked(client, model="hang")
        assert met.value.status_code == 504
        with pytest.raises(openai.APIConnectionError):
            list(asked(client, model="hang-mid", stream=True))


def test_a_redirect_is_not_followed(client):
    with pytest.raises(openai.InternalServerError, match=r"set proxy\.upstream"):
        asked(client, model="redirect")


@pytest.mark.parametrize(("model", "stream"), [("hang", False), ("hang", True), ("hang-mid", True)])
def test_who_goes_away_has_the_upstreams_call_cancelled_at_once(proxied, model, stream):
    with proxied.client(timeout=0.5) as client, pytest.raises(Exception, match="timed out"):
        for _ in asked(client, model=model, stream=stream):
            pass
    wait_until(lambda: proxied.upstream.num_gone == 1)
    wait_until(lambda: not len(proxied.front._flights))


def test_a_stream_that_is_left_is_cancelled(proxied, client):
    stream = asked(client, model="hang-mid", stream=True)
    next(stream)
    stream.close()
    wait_until(lambda: proxied.upstream.num_gone == 1)


def test_an_upstream_is_held_back_by_a_caller_who_does_not_read(proxied):
    body = b'{"model": "endless", "stream": true, "messages": [{"role": "user", "content": "go on"}]}'
    with wire(proxied.served) as line:
        line.send(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the admin's own token\r\n"
        )
        line.send(f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n", body)
        before = -1
        while before != proxied.upstream.num_sent_bytes:  # until all that lies between is full
            before = proxied.upstream.num_sent_bytes
            time.sleep(0.5)
        assert before < 32 << 20
    wait_until(lambda: not len(proxied.front._flights))


def test_our_token_stays_with_us_and_the_upstreams_key_goes_on(proxied, client):
    client.chat.completions.create(
        model="plain",
        messages=QUESTION,
        extra_headers={"Cookie": "a=b", "X-Api-Key": "k", "OpenAI-Organization": "org", "X-Forwarded-For": "1.2.3.4"},
    )
    (headers,) = proxied.upstream.headers
    assert headers["authorization"] == "Bearer the key of the upstream"
    assert not {"cookie", "x-api-key", "openai-organization", "x-forwarded-for"} & headers.keys()


def test_the_callers_authorization_goes_on_where_that_is_set(lasting_upstream):
    with proxying(lasting_upstream, forwards_authorization=True) as proxied, proxied.client() as client:
        asked(client)
        assert proxied.upstream.headers[0]["authorization"] == "Bearer the admin's own token"


def test_who_is_not_known_is_no_caller(proxied):
    with proxied.client("no token of anybody's") as client, pytest.raises(openai.AuthenticationError) as met:
        asked(client)
    assert met.value.code == "unauthorized"
    assert proxied.upstream.num_asked == 0


def test_without_an_upstream_the_next_step_is_said(lasting_upstream):
    with proxying(lasting_upstream) as proxied, proxied.client() as client:
        proxied.served.context.front = None
        with pytest.raises(openai.NotFoundError, match="KVSTORE_PROXY_UPSTREAM"):
            asked(client)


def test_a_body_that_is_too_long_is_refused(proxied):
    with wire(proxied.served) as line:
        line.send(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the admin's own token\r\n"
        )
        line.send(f"Content-Length: {1 << 40}\r\n\r\n")
        answer = line.answer()
    assert answer.code == "too-large"
    assert answer.json["error"]["code"] == "too-large"


def test_a_long_conversation_is_passed(client, proxied):
    messages = [{"role": "user", "content": "word " * 700_000}]
    assert asked(client, messages=messages).choices[0].message.content.startswith("Answer 0 to: word")
    assert proxied.upstream.asked[0]["messages"] == messages


def test_an_end_of_the_service_lets_answers_end(lasting_upstream):
    with proxying(lasting_upstream, ExactAnswers()) as proxied, proxied.client() as client:
        got = []
        stream = asked(client, model="gated-mid", stream=True)
        got.append(next(stream))
        proxied.served.server.handle_exit(15, None)
        threading.Timer(0.3, proxied.upstream.gate.set).start()
        got += list(stream)
    assert got[-1].choices[0].finish_reason == "stop"
