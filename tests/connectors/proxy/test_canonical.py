"""Canonical requests: what must be equal for one answer to do for both."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.proxy.canonical import Kind, NoQuestion, read_request

BASE = {"model": "m", "messages": [{"role": "user", "content": "What is it?"}]}
CHAT, COMPLETION = Kind.CHAT, Kind.COMPLETION


def read(fields, kind=CHAT, tenant="t", **more):
    return read_request(kind, json.dumps(fields).encode(), tenant, **more)


def query(**more):
    return read({**BASE, **more}).query


def parts(*texts):
    return [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}]


def test_the_order_of_names_makes_no_difference():
    fields = {**BASE, "temperature": 0.5, "stop": ["a"]}
    turned = dict(reversed(fields.items()))
    assert read(fields).query == read(turned).query


IGNORED = {"stream": True, "stream_options": {"include_usage": True}, "user": "u", "metadata": {"a": "b"}}


@pytest.mark.parametrize("name", IGNORED)
def test_how_it_is_sent_and_who_asked_makes_no_difference(name):
    assert query(**{name: IGNORED[name]}) == query()


@given(st.sampled_from(["top_p", "seed", "logit_bias", "guided_json", "anything"]), st.integers() | st.text())
def test_whatever_else_is_said_is_context(name, value):
    assert query(**{name: value}).partition != query().partition


def test_paraphrases_stand_in_one_partition():
    other = query(messages=[{"role": "user", "content": "What would it be?"}])
    assert other.partition == query().partition
    assert other.exact_key != query().exact_key


ALONE = {
    "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "functions": {"functions": [{"name": "f"}]},
    "several choices": {"n": 2},
    "no words": {"messages": [{"role": "user", "content": " \n"}]},
}


@pytest.mark.parametrize("why", ALONE)
def test_what_is_compared_by_its_words_has_no_neighbours(why):
    fields = {**BASE, **ALONE[why]}
    asked = read(fields)
    assert asked.by_words_only == why or asked.by_words_only == "tools"
    reworded = {**fields, "messages": [{"role": "user", "content": "What would it be?"}]}
    assert read(reworded).query.partition != asked.query.partition
    assert read(fields).query.exact_key == asked.query.exact_key


def test_raw_completions_have_no_neighbours():
    one, other = (read({"model": "m", "prompt": text}, COMPLETION).query for text in ("Once", "Twice"))
    assert one.partition != other.partition


def test_a_chat_and_a_completion_are_never_the_same():
    fields = {**BASE, "prompt": "What is it?"}
    assert read(fields).query.partition != read(fields, COMPLETION).query.partition


@given(st.lists(st.text(max_size=5), min_size=1, max_size=3), st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_parts_are_not_run_together(some, others):
    one, other = (query(messages=parts(*texts)) for texts in (some, others))
    same = some[:-1] == others[:-1] and one.text.strip() == other.text.strip()
    assert (one.exact_key == other.exact_key) >= (some == others)
    if one.exact_key == other.exact_key:
        assert same or (some[:-1] == others[:-1])


REFUSED = {
    "no JSON": b"{",
    "nothing": b"",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "twice the same name": b'{"model": "m", "messages": [], "model": "n"}',
    "twice, deeper": b'{"model": "m", "messages": [{"role": "user", "content": "a", "content": "b"}]}',
    "not a number": b'{"model": "m", "top_p": NaN, "messages": [{"role": "user", "content": "a"}]}',
    "beyond numbers": b'{"model": "m", "top_p": 1e999, "messages": [{"role": "user", "content": "a"}]}',
    "UTF-16": '{"model": "m"}'.encode("utf-16"),
    "no UTF-8": b'{"model": "\xff"}',
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_two_could_read_differently_is_no_question(body):
    with pytest.raises(NoQuestion):
        read_request(CHAT, body, "t")


NO_QUESTION = {
    "no model": {"model": None},
    "no messages": {"messages": []},
    "an assistant's turn": {"messages": [{"role": "assistant", "content": "a"}]},
    "an image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}]},
    "an image before": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, *BASE["messages"]]
    },
    "no content": {"messages": [{"role": "user", "content": None}]},
    "an empty list": {"messages": [{"role": "user", "content": []}]},
    "a number": {"messages": [{"role": "user", "content": 5}]},
    "variety": {"temperature": 1.01},
    "a temperature in words": {"temperature": "hot"},
    "probabilities": {"logprobs": True},
    "probabilities of the prompt": {"prompt_logprobs": 1},
    "sound": {"modalities": ["text", "audio"]},
    "the web": {"web_search_options": {}},
    "n of nothing": {"n": 0},
    "n in words": {"n": "2"},
    "a stream in words": {"stream": "yes"},
    "usage in every chunk": {"stream_options": {"continuous_usage_stats": True}},
}


@pytest.mark.parametrize("fields", NO_QUESTION.values(), ids=NO_QUESTION)
def test_what_a_cache_cannot_answer_is_no_question(fields):
    with pytest.raises(NoQuestion):
        read({**BASE, **fields})


@pytest.mark.parametrize("prompt", [None, ["a", "b"], [1, 2], 5])
def test_a_prompt_that_is_not_one_text_is_no_question(prompt):
    with pytest.raises(NoQuestion):
        read({"model": "m", "prompt": prompt}, COMPLETION)


def test_a_temperature_may_be_allowed():
    assert read({**BASE, "temperature": 1.5}, max_temperature=2.0).query
    with pytest.raises(NoQuestion):
        read(BASE, max_temperature=0.0)  # none is said, so it is 1


def test_half_a_surrogate_is_a_text_too():
    fields = {**BASE, "messages": [{"role": "user", "content": "\ud800"}]}
    assert read(fields).query.exact_key == read(fields).query.exact_key


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=5))
def test_the_body_that_asks_for_usage_says_all_else_as_before(value):
    fields = {**BASE, "stream": True, "anything": value}
    if value in (float("inf"), float("-inf")) or "Infinity" in json.dumps(value):
        return
    said = json.loads(read(fields).with_usage().body())
    assert said == {**fields, "stream_options": {"include_usage": True}}


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_no_question(body):
    with pytest.raises(NoQuestion):
        read_request(CHAT, body, "t")


SENT_ALONG = [None, {"authorization": "Bearer a"}, {"authorization": "Bearer b"}, {"openai-beta": "x"}]


def test_what_else_the_upstream_is_told_is_context():
    assert len({read(BASE, sent_along=each).query.partition for each in SENT_ALONG}) == len(SENT_ALONG)
