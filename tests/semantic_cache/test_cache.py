"""The cascade, with naive parts and a policy that a test sets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from kvstore import InvalidRequest
from semantic_cache.cache import SemanticCache
from semantic_cache.category import Category, Mode
from semantic_cache.certifier import Certified, Certifier, Choice, FixedThreshold, Ruling
from semantic_cache.certifiers import Certifiers
from semantic_cache.decision import Outcome
from semantic_cache.flat_index import FlatIndex
from semantic_cache.judge import CosineJudge, Judge, Judgement
from semantic_cache.lexical_embedder import LexicalEmbedder
from semantic_cache.memory_documents import MemoryDocuments
from semantic_cache.policy import Policy
from semantic_cache.query import Query, context_digest
from semantic_cache.quota import Quotas
from semantic_cache.shelf import Shelf
from tests.clock import Clock

DAY_S = 86400.0
ASKED, ALIKE = "How do I reset my router password?", "How do I reset my router password quickly?"
CATEGORIES = (
    Category("default", floor=0.7, ttl_s=DAY_S),
    Category("support", floor=0.7, ttl_s=DAY_S, ttl_stretch=2.0),
    Category("manuals", mode=Mode.EXACT, ttl_s=DAY_S),
    Category("personal", allowed=False),
    Category("actions", allowed=False),
    Category("current", mode=Mode.EXACT, ttl_s=60.0),
)


class Explorer(Certifier):
    """Explores everything, and keeps what it was told."""

    def __init__(self):
        self.told, self.exact = [], 0

    def choose(self, score, vouched=False):
        return Ruling(Choice.EXPLORE)

    def observe(self, score, right, ruling):
        self.told.append((score, right))

    def count_exact(self):
        self.exact += 1

    @property
    def certified(self):
        return Certified(float("inf"), float("nan"), 1.0, float("nan"), len(self.told))


class Forbidding(Judge):
    fingerprint = "rules everything out"

    def judge(self, asked, stored, cosine):
        return Judgement(1.0, ("number: 14 is not 15",))


@dataclass
class House:
    """A cache and what it is made of."""

    certifier: Certifier = field(default_factory=lambda: FixedThreshold(0.7))
    judge: Judge = field(default_factory=lambda: CosineJudge("lexical"))
    load: float = 0.0
    clock: Clock = field(default_factory=lambda: Clock(1000.0))

    def __post_init__(self):
        self.documents, self.embedder = MemoryDocuments(), LexicalEmbedder()
        self.index, self.policy = FlatIndex(self.embedder.dimension), Policy(CATEGORIES)
        quotas = Quotas(100, 1 << 30, lambda category: self.policy.stored(category).quota)
        self.cache = SemanticCache(
            Shelf(self.documents, self.index, quotas),
            self.embedder,
            self.judge,
            lambda: self.policy,
            Certifiers(lambda category: self.certifier),
            lambda: self.load,
            self.clock,
        )

    def ask(self, text, **parts):
        return self.cache.find(Query(text, **parts))

    def keep(self, text, response=b"so", ttl_s=None, **parts):
        return self.cache.add(Query(text, **parts), response, "w", 1.5, ttl_s)


@pytest.fixture
def house():
    return House()


def test_the_same_words_are_answered_and_others_that_are_near(house):
    assert house.ask(ASKED).outcome is Outcome.MISS
    assert house.keep(ASKED, b"press the button")
    exact, near = house.ask(f"  {ASKED}\r\n"), house.ask(ALIKE)
    assert (exact.outcome, near.outcome) == (Outcome.EXACT, Outcome.SEMANTIC)
    assert exact.document.response == near.document.response == b"press the button"
    assert near.considered.text == ASKED
    assert near.considered.cosine >= near.floor


@pytest.mark.parametrize(
    "other", [{"tenant": "b"}, {"model": "other"}, {"context": context_digest({"system": "be brief"})}]
)
def test_nothing_is_found_across_tenants_models_and_conversations(house, other):
    house.keep(ASKED)
    for text in (ASKED, ALIKE):
        decision = house.ask(text, **other)
        assert decision.outcome is Outcome.MISS
        assert decision.document is decision.considered is None


def test_what_the_judge_rules_out_is_computed_and_the_reason_is_said():
    house = House(judge=Forbidding())
    house.keep(ASKED)
    decision = house.ask(ALIKE)
    assert decision.outcome is Outcome.MISS
    assert "14 is not 15" in decision.why
    assert decision.document is None


def test_a_barred_category_is_neither_kept_nor_searched(house):
    assert not house.keep(ASKED, category="personal")
    assert house.ask(ASKED, category="personal").outcome is Outcome.BARRED
    assert len(house.index) == 0


def test_what_was_kept_is_not_given_to_a_query_that_is_barred(house):
    house.keep(ASKED)
    assert house.ask(ASKED, category="personal").outcome is Outcome.BARRED


def test_a_category_for_the_same_words_only_is_not_searched(house):
    house.keep(ASKED, category="manuals")
    assert house.ask(ASKED, category="manuals").outcome is Outcome.EXACT
    assert house.ask(ALIKE, category="manuals").outcome is Outcome.NOT_SEARCHED


def test_of_two_categories_the_stricter_one_decides(house):
    house.keep(ASKED, category="manuals")
    assert house.ask(ALIKE, category="support").outcome is Outcome.MISS
    house.keep(ASKED, category="support")
    assert house.ask(ALIKE).outcome is Outcome.SEMANTIC
    house.policy = Policy([replace(each, floor=0.99) if each.name == "default" else each for each in CATEGORIES])
    assert house.ask(ALIKE).outcome is Outcome.MISS
    assert house.ask(ALIKE, category="support").outcome is Outcome.SEMANTIC


def test_a_category_that_there_is_not_is_refused(house):
    with pytest.raises(InvalidRequest, match="did you mean support"):
        house.ask(ASKED, category="suport")


def test_an_answer_is_too_old_after_its_time_and_later_under_load(house):
    house.keep(ASKED, category="support")
    house.clock.now_s += 1.5 * DAY_S
    for text in (ASKED, ALIKE):
        assert house.ask(text, category="support").outcome is Outcome.MISS
    house.load = 1.0
    assert house.ask(ASKED, category="support").outcome is Outcome.EXACT
    assert house.ask(ALIKE, category="support").outcome is Outcome.SEMANTIC


def test_a_time_of_the_callers_own_is_kept_to_and_never_longer_than_the_categorys(house):
    house.keep(ASKED, ttl_s=10)
    house.keep("What is the boiling point of argon?", ttl_s=100 * DAY_S)
    house.clock.now_s += 11
    assert house.ask(ASKED).outcome is Outcome.MISS
    house.clock.now_s += DAY_S
    assert house.ask("What is the boiling point of argon?").outcome is Outcome.MISS


def test_a_clock_that_went_back_makes_no_answer_younger(house):
    house.keep(ASKED)
    house.clock.now_s -= 500
    assert house.ask(ASKED).outcome is Outcome.MISS


def test_an_answer_takes_the_place_of_the_one_before_to_the_same_words(house):
    house.keep(ASKED, b"old")
    house.keep(ASKED, b"new")
    assert house.ask(ASKED).document.response == house.ask(ALIKE).document.response == b"new"
    assert len(house.index) == 1


def test_what_is_explored_teaches_the_certifier_once():
    house = House(certifier=Explorer())
    house.keep(ASKED)
    decision = house.ask(ALIKE)
    assert decision.outcome is Outcome.EXPLORE
    assert decision.document is not None
    assert house.cache.feedback(decision.hit_id, "", True)
    assert not house.cache.feedback(decision.hit_id, "", True)
    assert house.certifier.told == [(decision.considered.score, True)]


def test_feedback_is_the_tenants_own(house):
    house.keep(ASKED, tenant="a")
    hit_id = house.ask(ASKED, tenant="a").hit_id
    assert not house.cache.feedback(hit_id, "b", False)
    assert not house.cache.feedback("no such id", "a", False)
    assert house.ask(ASKED, tenant="a").outcome is Outcome.EXACT


def test_an_answer_that_was_wrong_for_its_own_words_is_gone(house):
    house.keep(ASKED)
    assert house.cache.feedback(house.ask(ASKED).hit_id, "", False)
    assert house.ask(ASKED).outcome is house.ask(ALIKE).outcome is Outcome.MISS
    assert len(house.index) == 0


def test_an_answer_that_was_wrong_for_other_words_does_not_come_for_them_again(house):
    house.keep(ASKED)
    assert house.cache.feedback(house.ask(ALIKE).hit_id, "", False)
    assert house.ask(ALIKE).outcome is Outcome.MISS
    assert house.ask(ASKED).outcome is Outcome.EXACT


def test_exact_answers_are_counted_among_those_served():
    house = House(certifier=Explorer())
    house.keep(ASKED)
    house.ask(ASKED)
    assert house.certifier.exact == 1


@pytest.mark.parametrize("text", ["", " ", "\x00\x01", "a" * 1_000_000, "é\u0301\u200b\U0001f600" * 1000, "\ud800"])
def test_any_text_is_asked_and_kept(house, text):
    assert house.ask(text).outcome in (Outcome.MISS, Outcome.BARRED)
    if house.keep(text, b"said"):
        assert house.ask(text).document.response == b"said"


def test_a_query_that_is_being_computed_is_waited_for_by_one_that_means_the_same(house):
    others = [Query("What is the boiling point of argon?"), Query(ASKED)]
    assert house.cache.alike(Query(ALIKE), others) == 1
    assert house.cache.alike(Query("Where is Oslo?"), others) is None
    assert house.cache.alike(Query(ALIKE, category="manuals"), others) is None
    assert House(judge=Forbidding()).cache.alike(Query(ALIKE), others) is None
