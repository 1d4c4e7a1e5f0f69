"""Queries that are not answered from before, by their words: what is caught, what is not, and how fast."""

# ruff: noqa: RUF001 - letters that look like others are what this is about

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_cache.category import Rule
from semantic_cache.folded import folded
from semantic_cache.freshness import MOST_CHARS, barred


def rules(text):
    return [found.rule for found in barred(folded(text))]


@pytest.mark.parametrize(
    "text",
    [
        "write to jane.doe+news@mail.example.co.uk please",
        "write to jane.doe＠example．com",
        "write to jane\u200b.doe@\u2060example.com",
        "Is 4111 1111 1111 1111 a valid card?",
        "Is 5234 4111 1111 1111 1111 a valid card?",
        "Is ４１１１-１１１１-１１１１-１１１１ a valid card?",
        "Is ٤١١١ ١١١١ ١١١١ ١١١١ a valid card?",
        "my amex is 3782 822463 10005",
        "transfer it to DE89 3704 0044 0532 0130 00 please",
        "IBAN GB82WEST12345698765432",
        "ring +49 (0)171 1234567",
        "ring 0049 171 1234567",
        "ring (555) 123-4567",
        "ring 020 7946 0958",
        "ring 06 12 34 56 78",
        "SSN 078-05-1120",
        "my number is AB 12 34 56 C",
        "dni 12345678Z",
        "RSSMRA85T10A562S",
        "cpf 111.444.777-35",
        "ABCPK1234L",
        "11010519491231002X",
        "2341 2341 2346",
        "850709-9805",
        "where is order #AB-12345678",
        "my account number is 12345678",
        "Passport no. X1234567",
        "My name is Ada Lovelace, write me a poem",
        "my address is Main Street 12",
        "my date of birth is 12 May 1980",
        "my password is hunter2",
        "use sk-abcdefghij0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
    ],
)
def test_personal_data_is_found(text):
    assert rules(text)[:1] == [Rule.PERSONAL]


@pytest.mark.parametrize(
    "text",
    [
        "What is 4111 1111 1111 1112?",
        "What does DE00 3704 0044 0532 0130 00 stand for?",
        "What happened between 1914 and 1918?",
        "Is 3.141592653589793 rational?",
        "Python 3.11.7 on Linux 6.1.0",
        "The 10.0.0.1 address of a router",
        "How do I use @pytest.mark.parametrize?",
        "git clone git@github.com:owner/name.git fails",
        "1 2 3 4 5 6 7 8 9 10 11 12",
        "sales of 2019 2020 2021",
        "2341 2341 2345",
        "2020-01-02 03:04:05",
        "my name is spelled wrong in the app",
        "my pin is blocked",
        "The order of magnitude of 12345678",
        "what is a phone number?",
        "1700000000000 in milliseconds is which date?",
    ],
)
def test_what_only_looks_like_personal_data_is_left_alone(text):
    assert Rule.PERSONAL not in rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "Cancel my order",
        "please cancel my order",
        "Hi, could you cancel the subscription?",
        "I'd like to book a table for two",
        "Send an e-mail to Bob",
        "It is broken. Refund me the money",
        "delete my account",
        "ｄｅｌｅｔｅ my account",
        "dеlеtе my account",
        "d\u00ade\u200blete my account",
        "turn off the lights",
        "remind me to call mum",
        "Thanks!\nNow transfer $500 to Alice",
        "set an alarm for six",
    ],
)
def test_what_asks_to_be_done_is_found(text):
    assert rules(text)[:1] == [Rule.ACTIONS]


@pytest.mark.parametrize(
    "text",
    [
        "How do I cancel my order?",
        "Can I delete my account?",
        "What does it cost to send a letter?",
        "Why did the bank block my card?",
        "delete a node from a linked list in C",
        "Order the planets by size",
        "print numbers from 1 to 10",
        "Explain how booking works",
        "How can I scrape a page, save it, and plot it?",
    ],
)
def test_what_asks_about_doing_is_left_alone(text):
    assert Rule.ACTIONS not in rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "What's the weather in Paris?",
        "What is the latest version of Python?",
        "stock price of Apple",
        "How much does a Tesla cost?",
        "Who is the president of France?",
        "what time is it",
        "What did Congress decide yesterday?",
        "What should I do now?",
        "Any recent news about the merger",
        "how much money do I have",
        "What's on my calendar",
        "Wie ist das Wetter heute?",
        "Quelle heure est-il maintenant ?",
        "¿Qué pasa mañana?",
        "mañana?".replace("ñ", "n\u0303"),
        "Какая сегодня погода?",
        "今天天气怎么样",
        "오늘 날씨 어때",
        "What is the wеаthеr",
        "What is the LATEST\u200d release",
        "ＴＯＤＡＹ",
        "I'd like to know what is in the news today",
        "I need the exchange rate for dollars now",
        "What is the exchange rate of the euro?",
        "how high are mortgage rates",
        "my meetings tomorrow",
        "I was ill. What are today's headlines?",
        "traffic on the way to work",
    ],
)
def test_what_is_soon_no_longer_so_is_found(text):
    assert rules(text) == [Rule.CURRENT]


@pytest.mark.parametrize(
    "text",
    [
        "Why is the sky blue?",
        "How do I know whether I am right?",
        "What is an alternating current motor?",
        "How do I open a current account?",
        "From now on answer in French. Who wrote Faust?",
        "I had surgery last month and wonder whether swimming is safe.",
        "How do I reverse a list?",
        "I paid with my card today. Why was I charged twice?",
        "My transfer was declined this morning. What are the reasons?",
        "How do you determine your exchange rates?",
        "How are interest rates set?",
        "Where do newspapers get their photographs, and who reads news articles?",
        "What do traffic lights mean?",
        "Was the company's IPO price well chosen?",
    ],
)
def test_what_stays_so_is_left_alone(text):
    assert rules(text) == []


def test_the_strictest_rule_comes_first_and_personal_data_is_not_repeated():
    found = barred(folded("Send the latest report to jane@example.com"))
    assert [each.rule for each in found] == [Rule.PERSONAL, Rule.ACTIONS, Rule.CURRENT]
    assert "jane" not in found[0].words


def test_lines_and_spaces_and_accents_do_not_matter():
    assert folded("  Ça \t va?\r\n\n\u2028ÎLE ") == "ca va?\nile"


HOSTILE = {
    "letters": "a",
    "digits": "1",
    "digits apart": "1 ",
    "groups of digits": "4111 ",
    "ats": "a@",
    "addresses that do not end": "a@a.a.",
    "long labels": "@" + "a" * 63 + ".",
    "spaces": " ",
    "lines": "\n",
    "line ends and spaces": "\n ",
    "dashes": "-",
    "token heads": "eyj",
    "token heads apart": "-eyj",
    "keys apart": "-sk-",
    "accounts": "account number is ",
    "iban heads": "de89 ",
    "names": "my name is ",
    "addresses": "my address is ",
    "please": "please ",
    "please in sentences": ".please ",
    "could you": "could you could you ",
    "verbs": ";cancel ",
    "prices": "how much is ",
    "state": "what is my my my ",
    "asked": ".what is ",
    "accents": "\u0316\u0301",
    "accented": "e\u0301",
    "ligatures": "\ufdfa",
    "unseen": "\u200b",
    "CJK": "今",
    "surrogates": "\ud800",
    "NUL": "\0",
    "plus": "+1",
    "parentheses": "(1",
}


def seconds(text):
    begin = time.thread_time()
    barred(folded(text))
    return time.thread_time() - begin


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_text_of_anything_is_read_in_linear_time(kind):
    short, long = ((HOSTILE[kind] * length)[:length] for length in (1 << 12, 1 << 15))
    assert seconds(long) < max(16 * min(seconds(short), seconds(short)), 0.05), "8 times the text: 16 times as long"


@pytest.mark.parametrize("kind", ["letters", "accents", "accented", "ligatures", "unseen", "line ends and spaces"])
def test_a_megabyte_is_not_read_through(kind):
    assert seconds((HOSTILE[kind] * (1 << 20))[: 1 << 20]) < 2
    assert rules("a b " * (MOST_CHARS // 4 + 1)) == [Rule.PERSONAL]


@given(st.text())
def test_any_text_has_an_answer(text):
    plain = folded(text)
    assert folded(plain) == plain or not text.isascii()
    assert len(barred(plain)) <= 3


@given(st.text(alphabet="4111 -@.+()aIBDE89\u200b\uff14\u0664", max_size=60))
def test_texts_made_of_digits_and_marks_have_an_answer(text):
    barred(folded(text))
