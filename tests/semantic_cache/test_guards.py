"""Guards: what rules an answer out, what does not, and what they do with texts that nobody should send."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_cache.guards import conflicts, guards_fingerprint, is_edit, read
from semantic_cache.guards.word_lists import listed

RULED_OUT = [
    # kind of conflict, one text, the other
    ("number", "Is it safe to fly at 14 weeks?", "Is it safe to fly at 15 weeks?"),
    ("number", "what are the top ten beaches", "what are the top twelve beaches"),
    ("number", "what is a third of 90", "what is a fourth of 90"),
    ("number", "set an alarm for 7 am", "set an alarm for 7 pm"),
    ("number", "what is 5% of 80", "what is 50% of 80"),
    ("number", "convert $100 to pesos", "convert €100 to pesos"),
    ("number", "is python 3.1 out", "is python 3.10 out"),
    ("number", "how far is 5 miles", "how far is 5 km"),
    ("number", "what happened on 12/05/2021", "what happened on 05/12/2021"),
    ("number", "who won the cup in 1998?", "who won the cup?"),
    ("number", "how cold is -5 degrees", "how cold is 5 degrees"),
    ("unit", "how many ounces are in a cup", "how many grams are in a cup"),
    ("order of numbers", "count from 3 to 9", "count from 9 to 3"),
    ("date", "is the bank open on monday", "is the bank open on friday"),
    ("date", "will it rain tomorrow", "will it rain"),
    ("negation", "what should I eat", "what should I not eat"),
    ("negation", "is milk allowed", "isn't milk allowed"),
    ("opposite", "how do I enable the firewall", "how do I disable the firewall"),
    ("opposite", "sort ascending", "sort descending"),
    ("opposite", "coffee before a run", "coffee after a run"),
    ("opposite", "tea with milk", "tea without milk"),
    ("opposite", "how to mount a volume", "how to unmount a volume"),
    ("name", "what is the capital of Peru", "what is the capital of Chile"),
    ("name", "weather in lisbon", "weather in madrid"),
    ("name", "reset my Zorblat account", "reset my Quixel account"),
    ("quotation", "how do you say 'good night' in French", "how do you say 'good day' in French"),
    ("identifier", "what does get_user do", "what does set_user do"),
    ("identifier", "what does error E1042 mean", "what does error mean"),
    ("identifier", "open https://a.example/x", "open https://a.example/y"),
    ("identifier", "what is in /etc/hosts", "what is in /etc/passwd"),
    ("sign", "what does a == b do", "what does a != b do"),
    ("order", "convert euros to dollars", "convert dollars to euros"),
    ("order", "trains from Leeds", "trains to Leeds"),
    ("order", "was the dog bitten by the man", "did the dog bite the man"),
    ("order", "the cat sees a dog", "a dog sees the cat"),
    ("scope", "delete only the drafts", "delete the drafts"),
    ("scope", "who came first", "who came last"),
    ("question", "who wrote it", "when was it written"),
    ("question", "how many people live there", "why do people live there"),
    ("whose", "what is your name", "what is my name"),
    ("whose", "if Ann met Tom, would his dog bark", "if Ann met Tom, would Ann's dog bark"),
    ("tense", "who is the mayor", "who was the mayor"),
    ("modality", "must I sign the form", "may I sign the form"),
    ("language", "какая сегодня погода", "какая завтра погода"),
    ("language", "cómo puedo cambiar mi contraseña", "cómo puedo cancelar mi cuenta"),
]

LET_PASS = [
    ("What is the capital of France?", "what's the capital of france"),
    ("How do I cancel my subscription?", "How can I cancel my subscription please?"),
    ("is it 3pm there", "is it 15:00 there"),
    ("I paid $5", "I paid 5 dollars"),
    ("a movie of 90 minutes", "a movie of 1.5 hours"),
    ("the 2nd chapter", "the second chapter"),
    ("don't do it", "do not do it"),
    ("cats and dogs", "dogs and cats"),
    ("when it rains, is it wet", "is it wet when it rains"),
    ("tell me about machine learning", "tell me about ML"),
    ("how do i receive mail", "how do i recieve mail"),
    ("how do you delete your account", "how do I delete my account"),
    ("where is the log in page", "where is the login page"),
]


@pytest.mark.parametrize(("kind", "one", "other"), RULED_OUT)
def test_conflict_is_named(kind: str, one: str, other: str) -> None:
    for found in (conflicts(read(one), read(other)), conflicts(read(other), read(one))):
        assert kind in {conflict.split(":")[0] for conflict in found}


@pytest.mark.parametrize(("one", "other"), LET_PASS)
def test_other_words_for_the_same_are_no_conflict(one: str, other: str) -> None:
    assert conflicts(read(one), read(other)) == ()
    assert conflicts(read(other), read(one)) == ()


def test_conflict_says_what_is_not_what() -> None:
    assert conflicts(read("Is it safe at 14 weeks?"), read("Is it safe at 15 days?")) == (
        "number: 14 weeks is not 15 days",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00\x01\x02",
        "…?!",
        "a" * 1001,
        "hi\u200bthere",
        "\ufffd\ufffd",
        "p\u0430ypal",
        "pa\u0335ypal",
        "\ue000",
        "👍",
    ],
    ids=ascii,
)
def test_text_that_cannot_be_read_matches_nothing(text: str) -> None:
    assert conflicts(read(text), read(text))[0].startswith(("text", "language"))
    assert conflicts(read("pay with paypal"), read(text))
    assert conflicts(read(text), read("pay with paypal"))


@pytest.mark.parametrize(
    ("disguised", "plain"),
    [
        ("pay with p\u0430ypal", "pay with paypal"),  # a Cyrillic a
        ("what is x\u00b2", "what is x2"),
        ("enable \u200bit", "enable it"),
        ("is it \uff15 km", "is it 5 km"),
        ("open the \ufb01le", "open the file"),
        ("re\u0301sume\u0301 it", "resume it"),
    ],
)
def test_letters_that_only_look_alike_are_not_alike(disguised: str, plain: str) -> None:
    assert conflicts(read(disguised), read(plain))


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "'",
        '"',
        "a.",
        "a_",
        "aA",
        "A1-",
        "/a",
        "\\",
        "- ",
        "a@",
        "1,",
        "1/",
        "one ",
        "I ",
        "by a ",
        "\u0301",
        "``",
        "==",
        "=",
        "(",
        " ",
    ],
)
@pytest.mark.parametrize("length", [1000, 1_000_000])
def test_no_text_takes_long(unit: str, length: int) -> None:
    text = (unit * length)[:length]
    start = time.thread_time()
    conflicts(read(text), read(text + "b"))
    conflicts(read("how do I pay"), read(text))
    assert time.thread_time() - start < 5.0  # what grows as the square takes minutes


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_guards_take_any_text_and_do_not_mind_which_was_first(one: str, other: str) -> None:
    assert bool(conflicts(read(one), read(other))) == bool(conflicts(read(other), read(one)))


WORDS = st.lists(
    st.sampled_from(listed("how do I not open 5 km from Paris to Rome before the only all 'a b' x_y == by")),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(WORDS, WORDS)
def test_guards_agree_both_ways_on_words_they_know(one: list[str], other: list[str]) -> None:
    left, right = " ".join(one), " ".join(other)
    assert bool(conflicts(read(left), read(right))) == bool(conflicts(read(right), read(left)))


@settings(max_examples=200, deadline=None)
@given(WORDS)
def test_a_text_does_not_conflict_with_itself(words: list[str]) -> None:
    text = "please " + " ".join(words)
    assert conflicts(read(text), read(text)) == ()


def test_fingerprint_names_guards_and_lexicon() -> None:
    assert guards_fingerprint().startswith("guards 1 ")


@pytest.mark.parametrize(
    ("asked", "stored", "expected"),
    [
        ("How do I reset my password?", "How do I not reset my password?", True),
        ("Please open the door", "close the door", True),
        ("What is the capital of Norway?", "What is the capital of Sweden?", True),
        ("My card is not working, what can I do?", "Why can I not pay with my new card?", False),
        ("", "", True),
    ],
)
def test_an_edit_changes_a_word_or_two(asked, stored, expected):
    assert is_edit(read(asked), read(stored)) is expected
    assert is_edit(read(stored), read(asked)) is expected
