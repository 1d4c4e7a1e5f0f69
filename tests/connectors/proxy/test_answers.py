"""Answers on their way: split, assembled, kept and replayed, they say the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.proxy import replay
from connectors.proxy.assembling import Assembler, NotWhole
from connectors.proxy.canonical import Kind, read_request
from connectors.proxy.events import Event, Splitter
from connectors.proxy.keeping import Stored, kept
from connectors.proxy.marks import marks
from connectors.proxy.passing import headers_back
from connectors.proxy.recorder import OfJson, OfStream
from connectors.proxy.sameness import same_answer

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TEXTS = st.text(min_size=1, max_size=200)
CALLS = st.lists(st.tuples(st.text(min_size=1, max_size=5), TEXTS), max_size=2)


@st.composite
def answers(draw):
    """Of chats, with as many choices as they have."""
    choices = []
    for index in range(draw(st.integers(1, 3))):
        message = {"role": "assistant", "content": draw(TEXTS)}
        if draw(st.booleans()):
            message["reasoning_content"] = draw(TEXTS)
        if calls := draw(CALLS):
            message["tool_calls"] = [
                {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for number, (name, arguments) in enumerate(calls)
            ]
        choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": "stop"})
    return {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": USAGE}


def asked(num_choices):
    fields = {"model": "m", "n": num_choices, "tools": [{}], "messages": [{"role": "user", "content": "a"}]}
    return read_request(Kind.CHAT, json.dumps(fields).encode(), "t")


@given(answers(), st.integers(1, 50))
def test_a_replay_says_what_was_kept_however_it_is_cut(answer, size):
    stored = Stored.from_bytes(kept(asked(len(answer["choices"])), answer).to_bytes())
    stream = b"".join(replay.streamed(stored, 7.5, with_usage=True))
    recorder, passed = OfStream(Kind.CHAT), []
    for start in range(0, len(stream), size):
        passed += recorder.take(stream[start : start + size])
    passed += recorder.rest()
    assert b"".join(piece.content for piece in passed) == stream
    assert [piece.is_usage for piece in passed].count(True) == 1
    assert recorder.is_done
    again = recorder.answer()
    assert again == {**answer, "id": again["id"], "created": 7}
    whole = json.loads(replay.whole(stored, 7.5))
    assert whole == {**answer, "id": whole["id"], "created": 7}


@given(TEXTS)
def test_pieces_are_the_text(text):
    assert "".join(replay.pieces(text)) == text


@given(st.lists(st.binary(max_size=10), max_size=20))
def test_events_are_the_bytes_of_their_stream(pieces):
    splitter = Splitter()
    out = b"".join(event.raw for piece in pieces for event in splitter.take(piece))
    assert out + splitter.rest == b"".join(pieces)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_any_way(end):
    splitter = Splitter()
    stream = b": comment" + end * 2 + b"data: a" + end + b"data:b" + end * 2 + b"data: c" + end * 2 + b"x"
    said = [event.said for byte in stream for event in splitter.take(bytes([byte]))]
    assert said == [None, b"a\nb", b"c"]


@given(st.binary(max_size=300))
def test_no_bytes_are_an_answer(content):
    assert Stored.from_bytes(content) is None
    for recorder in (OfStream(Kind.CHAT), OfJson()):
        assert b"".join(p.content for p in [*recorder.take(content), *recorder.rest()]) == content
        with pytest.raises(NotWhole):
            kept(asked(1), recorder.answer())


@given(answers(), st.data())
def test_what_is_held_and_was_cut_off_is_no_answer(answer, data):
    content = kept(asked(len(answer["choices"])), answer).to_bytes()
    assert Stored.from_bytes(content[: data.draw(st.integers(0, len(content) - 1))]) is None


def chunk(delta=None, finish_reason=None, **more):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    return {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def assembled(*chunks):
    assembler = Assembler(Kind.CHAT)
    for each in chunks:
        assembler.take(Event(each if isinstance(each, bytes) else b"data: " + json.dumps(each).encode() + b"\n\n"))
    return assembler.answer()


DONE = b"data: [DONE]\n\n"
SPOILED = {
    "no end": [chunk({"content": "a"}, "stop")],
    "an error": [chunk({"content": "a"}), {"error": {"message": "m"}}, DONE],
    "no chunk": [b"data: {\n\n", DONE],
    "no object": [b"data: []\n\n", DONE],
    "another kind": [chunk() | {"object": "text_completion"}, DONE],
    "unknown words": [chunk({"annotations": [1]}), DONE],
    "unknown things": [chunk(prompt_filter_results=[1]), DONE],
    "more after the end": [chunk({"content": "a"}, "stop"), chunk({"content": "b"}), DONE],
    "more after all": [chunk({"content": "a"}, "stop"), DONE, chunk()],
    "a number": [chunk({"content": 5}), DONE],
    "another's role": [chunk({"role": "user"}), DONE],
    "an index in words": [chunk() | {"choices": [{"index": "0", "delta": {}}]}, DONE],
    "a call that changes": [
        chunk({"tool_calls": [{"index": 0, "id": "a"}]}),
        chunk({"tool_calls": [{"index": 0, "id": "b"}]}),
        DONE,
    ],
}


@pytest.mark.parametrize("chunks", SPOILED.values(), ids=SPOILED)
def test_a_stream_that_is_not_understood_is_no_answer(chunks):
    with pytest.raises(NotWhole):
        assembled(*chunks)


def test_what_says_nothing_changes_nothing():
    answer = assembled(
        b": ping\n\n",
        chunk({"role": "assistant", "content": "", "refusal": None, "tool_calls": None}, obfuscation="xx"),
        chunk({"content": "a"}) | {"usage": None},
        chunk({}, "stop"),
        DONE,
    )
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "a"}


def said(content, **more):
    message = {"role": "assistant", "content": content, **more}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"object": "chat.completion", "model": "m", "choices": [choice], "usage": USAGE}
    return Stored(Kind.CHAT, answer).to_bytes()


def test_answers_are_the_same_in_the_same_words_alone():
    assert same_answer(said("The capital is Oslo."), said("the  capital is *Oslo*"))
    assert not same_answer(said("It is 14."), said("It is 15."))
    assert not same_answer(said("It is."), said("It is not."))
    assert not same_answer(said("-5"), said("5"))
    assert not same_answer(said("a", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "1"}}]), said("a"))
    assert not same_answer(b"", said("a"))


@given(st.text(), st.dictionaries(st.text(max_size=20), st.text(max_size=5000), max_size=5))
def test_marks_are_lines_whatever_they_are_given(text, explanation):
    for name, value in marks("hit", text, text, text, text, 1e30, text, 3, explanation):
        assert all(0x20 <= byte < 0x7F for byte in name + value)
        if name == b"x-kvstore-explanation":
            assert isinstance(json.loads(value), dict)
            assert len(value) <= 8000


def test_what_is_of_one_connection_or_speaks_for_us_does_not_come_back():
    given = {
        b"Content-Type": b"a",
        b"Connection": b"close, X-Mine",
        b"X-Mine": b"b",
        b"Set-Cookie": b"c",
        b"X-Kvstore-Cache": b"hit",
        b"Strict-Transport-Security": b"d",
        b"X-Request-Id": b"e",
    }
    assert headers_back(given.items()) == [(b"content-type", b"a"), (b"x-upstream-request-id", b"e")]
