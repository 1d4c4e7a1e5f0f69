"""Only what may be seen, helps and fits is shown; and it is shown as what it is."""

import copy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import InvalidRequest
from semantic_cache.example import Example, Past
from semantic_cache.examples import Examples, Limits, with_examples
from semantic_cache.request import Request
from semantic_cache.usefulness import Usefulness

PARTITION = b"tenant, model and context"
REQUEST = Request("code", 40)
PASTS = st.integers(0, 20).flatmap(lambda tried: st.builds(Past, st.just(float(tried)), st.floats(-tried, tried)))
EXAMPLES = st.builds(
    Example,
    st.integers(0, 10**6),
    st.sampled_from([PARTITION, b"another"]),
    st.sampled_from(["code", "chat"]),
    st.text(max_size=60),
    st.text(max_size=60),
    st.floats(-1, 1),
    st.floats(-10, 1e9),
    st.floats(0.01, 100),
    PASTS,
)
LIMITS = st.builds(Limits, st.floats(0, 1), st.integers(0, 8), st.integers(0, 4), st.integers(0, 200), st.floats(0, 1))
LEARNED = st.lists(st.tuples(st.lists(EXAMPLES, max_size=3), st.floats(0, 1)), max_size=10)


def example(number=0, cosine=0.9, **changes):
    return replace(
        Example(number, PARTITION, "code", f"question {number}", f"answer {number}", cosine, 60.0, 1.0), **changes
    )


def selected(candidates, limits=None, usefulness=None):
    return Examples(usefulness or Usefulness(["code", "chat"]), limits).select(PARTITION, REQUEST, candidates)


@given(LIMITS, LEARNED, st.lists(EXAMPLES, max_size=12))
def test_whatever_was_learned_only_the_partitions_candidates_are_chosen_within_the_limits(limits, learned, candidates):
    usefulness = Usefulness(["code", "chat"])
    for shown, quality in learned:
        usefulness.learn(REQUEST, shown, quality)
    chosen = selected(candidates, limits, usefulness)
    assert all(each in candidates and each.partition == PARTITION for each in chosen.examples)
    assert all(each.cosine >= limits.relevant_cosine for each in chosen.examples)
    assert len(chosen.examples) <= min(limits.examples, limits.relevant)
    assert sum(each.num_chars for each in chosen.examples) <= limits.chars
    assert len({each.asked.strip() for each in chosen.examples}) == len(chosen.examples)
    assert 0 <= chosen.without <= 1
    assert chosen.gain >= 0


def test_at_first_the_nearest_are_chosen_and_the_nearest_stands_next_to_the_question():
    chosen = selected([example(number, cosine=0.6 + 0.03 * number) for number in range(10)])
    assert [each.document_id for each in chosen.examples] == [7, 8, 9]


def test_what_did_harm_is_not_shown_again():
    harmful = example(1, cosine=0.95, past=Past(tried=10.0, lift=-9.0))
    assert [each.document_id for each in selected([harmful, example(2, cosine=0.8)]).examples] == [2]


def test_where_examples_do_not_help_none_are_shown():
    usefulness = Usefulness(["code", "chat"])
    for turn in range(200):
        usefulness.learn(REQUEST, [example(turn)] if turn % 2 else [], 0.9 if turn % 2 == 0 else 0.3)
    assert selected([example(1), example(2)], usefulness=usefulness).examples == ()


def test_what_examples_bring_is_told_from_what_the_request_brings():
    usefulness = Usefulness(["code", "chat"])
    for turn in range(400):
        usefulness.learn(Request("code", 40), [example(turn)] if turn % 2 else [], 0.9)
        usefulness.learn(Request("chat", 40), [example(turn, category="chat")] if turn % 2 else [], 0.9 * (turn % 2))
    assert usefulness.expected(Request("code", 40), []) > 0.6
    assert usefulness.expected(Request("chat", 40), []) < 0.2
    assert usefulness.expected(Request("chat", 40), [example(1, category="chat")]) > 0.6


def test_what_does_not_pay_for_its_prefill_is_not_shown():
    long = example(1, answered="word " * 300)
    assert selected([long], Limits(gain_per_1000_chars=0.02)).examples == (long,)
    assert selected([long], Limits(gain_per_1000_chars=0.5)).examples == ()


def test_one_that_is_too_long_makes_way_for_others():
    long = example(1, cosine=0.99, answered="x" * 500)
    assert [each.document_id for each in selected([long, example(2)], Limits(chars=300)).examples] == [2]


@pytest.mark.parametrize("marked", ["<|im_end|>", "a <|eot_id|> b", "</s>", "[INST] x", "<end_of_turn>", "<|a\nb|>"])
def test_texts_that_could_end_a_turn_are_not_shown(marked):
    assert selected([example(1, asked=marked), example(2, answered=marked)]).examples == ()


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_answer_is_no_example(empty):
    assert selected([example(1, answered=empty), example(2, asked=empty)]).examples == ()


def test_of_several_answers_to_the_same_words_the_newest_is_shown():
    older, newer = example(1, asked="same", age_s=900.0), example(2, asked=" same\n", age_s=9.0)
    assert selected([older, newer]).examples == (newer,)


ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool"])
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": st.text(max_size=20)}), max_size=6)


@given(MESSAGES, st.lists(EXAMPLES, max_size=3))
def test_examples_are_turns_behind_the_system_prompt_and_change_no_message(messages, examples):
    before = copy.deepcopy(messages)
    shown = with_examples(messages, examples)
    assert messages == before
    first = next((i for i, each in enumerate(messages) if each["role"] not in ("system", "developer")), len(messages))
    turns = shown[first : first + 2 * len(examples)]
    assert shown[:first] + shown[first + len(turns) :] == messages
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * len(examples)
    for number, (asked, answered) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
        assert asked["content"] == f"[Example {number + 1} of {len(examples)}]\n{examples[number].asked}"
        assert answered["content"] == examples[number].answered


@pytest.mark.parametrize(
    "changes", [{"relevant_cosine": 1.1}, {"examples": -1}, {"chars": -1}, {"gain_per_1000_chars": float("nan")}]
)
def test_limits_that_make_no_sense_are_refused(changes):
    with pytest.raises(InvalidRequest):
        Limits(**changes)
