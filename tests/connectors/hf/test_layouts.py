"""Layouts: the ids are those of the whole text, and segments are the tokens inside of their text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from blend import Segment
from connectors.hf.layouts import layout_of_chat, layout_of_parts, layout_of_text
from connectors.hf.prompts import shipped_document
from kvstore import InvalidRequest

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def tokenizer():
    """Byte pairs of a real text, as most models have them."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator([shipped_document()[:50_000]], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=TEMPLATE)


PARTS = st.lists(st.tuples(st.booleans(), st.text("We the people,\n é", max_size=12)), max_size=6)


@settings(max_examples=200, deadline=None)
@given(PARTS)
def test_parts_are_tokenized_as_one_text(tokenizer, parts):
    layout = layout_of_parts(tokenizer, [Segment(text) if marked else text for marked, text in parts])
    assert list(layout.token_ids) == tokenizer("".join(text for _, text in parts)).input_ids
    marked = [text for is_segment, text in parts if is_segment]
    decoded = [tokenizer.decode(layout.tokens(run)) for run in layout.segments]
    for text in decoded:
        match = next(index for index, whole in enumerate(marked) if text.replace("\ufffd", "") in whole)
        del marked[: match + 1]


def test_a_token_across_the_seam_belongs_to_neither(tokenizer):
    (the,) = tokenizer(" the").input_ids
    layout = layout_of_parts(tokenizer, ["of t", Segment("he people"), " of"])
    assert the in layout.token_ids
    assert tokenizer.decode(layout.tokens(layout.segments[0])) == " people"


def test_a_passage_between_blank_lines_has_the_same_tokens_everywhere(tokenizer):
    passage = Segment("We the People of the United States, in Order to form a more perfect Union.")
    runs = []
    for before, after in (("Read.\n\n", "\n\nWhat?"), ("", "\n\n"), ("Another text\n\n", "\n\nAnother still")):
        layout = layout_of_parts(tokenizer, [before, passage, after])
        runs.append(layout.tokens(layout.segments[0]))
    assert len(set(runs)) == 1


def test_segments_stand_between_separators(tokenizer):
    text = "Read:\n##\nfirst passage\n##\nsecond\n##\nAnd what?"
    layout = layout_of_text(tokenizer, text, "\n##\n")
    assert list(layout.token_ids) == tokenizer(text).input_ids
    assert [tokenizer.decode(layout.tokens(run)).strip() for run in layout.segments] == ["first passage", "second"]
    assert layout_of_text(tokenizer, "none here", "\n##\n").segments == ()
    assert layout_of_text(tokenizer, "one\n##\nonly", "\n##\n").segments == ()
    with pytest.raises(InvalidRequest, match="empty"):
        layout_of_text(tokenizer, text, "")


def test_segments_of_a_chat_are_parts_of_its_messages(tokenizer):
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": ["Read.\n\n", Segment("the first passage\n\n"), Segment("the second\n\n"), "What?"],
        },
    ]
    layout = layout_of_chat(tokenizer, messages)
    plain = [messages[0], {"role": "user", "content": "Read.\n\nthe first passage\n\nthe second\n\nWhat?"}]
    rendered = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    assert list(layout.token_ids) == tokenizer(rendered, add_special_tokens=False).input_ids
    texts = [tokenizer.decode(layout.tokens(run)) for run in layout.segments]
    assert [text.strip() for text in texts] == ["the first passage", "the second"]


def test_an_empty_segment_is_none(tokenizer):
    assert layout_of_parts(tokenizer, ["a ", Segment(""), "b"]).segments == ()


def test_a_format_that_trims_texts_gets_no_segments_there(tokenizer):
    messages = [{"role": "user", "content": ["Read. ", Segment("We the People\n\n")]}]
    plain = [{"role": "user", "content": "Read. We the People\n\n"}]
    trimming = TEMPLATE.replace("m.content", "m.content | trim")
    tokenizer.chat_template = trimming
    try:
        layout = layout_of_chat(tokenizer, messages)
        rendered = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    finally:
        tokenizer.chat_template = TEMPLATE
    assert layout.segments == ()
    assert list(layout.token_ids) == tokenizer(rendered, add_special_tokens=False).input_ids


@pytest.mark.parametrize("mark", ["\ue000", "\ue001"])
def test_a_text_with_a_mark_in_it_is_told(tokenizer, mark):
    with pytest.raises(InvalidRequest, match="take it out"):
        layout_of_chat(tokenizer, [{"role": "user", "content": [Segment(f"We{mark} the People")]}])
