"""The policy: whose query it is, by the caller, by its words, by its vector; and that rules only ever tighten."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import InvalidRequest
from semantic_cache.category import Category, Mode, Rule
from semantic_cache.classifier import Claim, Classifier
from semantic_cache.policy import By, Policy
from semantic_cache.query import Query
from semantic_cache.shipped import SHIPPED

VECTOR = np.zeros(4, np.float32)
RULED = {
    Rule.PERSONAL: "my mail is jane@example.com",
    Rule.ACTIONS: "cancel my order",
    Rule.CURRENT: "what is the weather in Rome",
}


class Claims(Classifier):
    """Always the same."""

    def __init__(self, category):
        self.category = category

    def claim(self, vector):
        return Claim(self.category, 0.5)


def policy(classifier=None, **changes):
    """The shipped one, with some categories changed or new."""
    categories = {category.name: category for category in SHIPPED}
    for name, values in changes.items():
        known = categories.get(name)
        categories[name] = replace(known, **values) if known else Category(name, **values)
    return Policy(categories.values(), classifier)


def assigned(policy, text, category=None):
    return policy.category_of(policy.screen(Query(text, category=category)), VECTOR)


def test_what_nobody_claims_is_the_defaults():
    found = assigned(policy(), "Why is the sky blue?")
    assert (found.category.name, found.by, found.barred) == ("default", By.NOBODY, None)


def test_the_caller_the_keywords_and_the_vector_come_in_that_order():
    known = policy(Claims("docs"), code={"keywords": ("segfault",)})
    assert assigned(known, "Why this SEGFAULT?", "general").category.name == "general"
    assert assigned(known, "Why this SEGFAULT?").by is By.KEYWORD
    assert assigned(known, "Why this SEGFAULT?").category.name == "code"
    assert assigned(known, "Why?").category.name == "docs"
    assert assigned(known, "Why?").by is By.CLASSIFIER


def test_a_claim_for_a_category_that_is_gone_is_none():
    assert assigned(policy(Claims("gone")), "Why?").category.name == "default"


def test_a_category_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(InvalidRequest, match="'medicl'; did you mean medical"):
        policy().screen(Query("Why?", category="medicl"))
    with pytest.raises(InvalidRequest, match="there are: docs, "):
        policy().screen(Query("Why?", category="🦄"))
    with pytest.raises(InvalidRequest) as raised:
        policy().screen(Query("Why?", category="x" * 10_000_000))
    assert len(str(raised.value)) < 500


def test_what_was_stored_under_a_category_that_is_gone_is_the_defaults():
    assert policy().stored("gone").name == "default"
    assert policy().stored("code").name == "code"


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("named", [None, "docs", "default"])
def test_a_rule_takes_a_query_from_whoever_has_it(rule, named):
    found = assigned(policy(Claims("docs")), RULED[rule], named)
    assert (found.category.name, found.by) == (rule, By.RULE)
    assert (found.barred is None) == (rule is Rule.CURRENT)


@pytest.mark.parametrize("rule", Rule)
def test_a_category_may_keep_what_a_rule_would_take(rule):
    keeping = policy(Claims("docs"), docs={"keeps": frozenset({rule})})
    assert assigned(keeping, RULED[rule]).category.name == "docs"
    assert assigned(keeping, RULED[rule], "code").category.name == rule


def test_what_is_barred_by_its_words_alone_needs_no_vector():
    assert policy().screen(Query(RULED[Rule.PERSONAL])).assigned.barred == "category personal: an e-mail address"
    assert policy().screen(Query("Why?", category="actions")).assigned.barred is not None
    assert policy().screen(Query("Why?")).assigned is None


def test_a_category_that_is_barred_stays_so_whatever_the_words():
    barring = policy(Claims("medical"), medical={"allowed": False})
    for text in (*RULED.values(), "Why does my knee hurt?"):
        assert assigned(barring, text).barred is not None


def test_a_keyword_of_a_barred_category_wins_and_two_of_others_cancel_out():
    known = policy(
        Claims("general"),
        docs={"keywords": ("manual", "user guide")},
        code={"keywords": ("python",)},
        legal={"keywords": ("lawsuit",), "allowed": False},
    )
    assert assigned(known, "the python manual").category.name == "general"
    assert assigned(known, "the python manual on a lawsuit").category.name == "legal"
    assert assigned(known, "the user  guide").category.name == "docs"
    assert assigned(known, "pythonic manuals").category.name == "general"


def test_a_rule_never_gives_an_answer_longer_than_its_category_would():
    short = policy(Claims("docs"), docs={"ttl_s": 10.0, "ttl_stretch": 1.0})
    found = assigned(short, RULED[Rule.CURRENT]).category
    assert (found.name, found.mode, found.kept_s) == ("current", Mode.EXACT, 10.0)
    exact = policy(Claims("docs"), docs={"ttl_s": 10.0, "ttl_stretch": 1.0, "mode": Mode.EXACT})
    assert assigned(exact, RULED[Rule.CURRENT]).category.name == "docs"


times_s = st.floats(0, 1e9) | st.just(math.inf)


@given(st.booleans(), st.sampled_from(Mode), times_s, st.floats(1, 10), st.booleans(), times_s, st.floats(1, 10))
def test_rules_only_tighten(allowed, mode, ttl_s, stretch, rule_allowed, rule_ttl_s, rule_stretch):
    known = policy(
        docs={"allowed": allowed, "mode": mode, "ttl_s": ttl_s, "ttl_stretch": stretch},
        current={"allowed": rule_allowed, "ttl_s": rule_ttl_s, "ttl_stretch": rule_stretch},
    )
    found = assigned(known, RULED[Rule.CURRENT], "docs").category
    assert not found.allowed or (allowed and rule_allowed) or found.name == "docs"
    assert not found.allowed or allowed
    assert not found.allowed or found.mode is Mode.EXACT
    assert not found.allowed or found.kept_s <= ttl_s * stretch


def test_a_policy_that_lacks_something_is_refused():
    with pytest.raises(InvalidRequest, match="same name"):
        Policy([*SHIPPED, SHIPPED[0]])
    for name in ("default", *Rule):
        with pytest.raises(InvalidRequest, match=f"no category {name}"):
            Policy([category for category in SHIPPED if category.name != name])
    with pytest.raises(InvalidRequest, match=r"current\.mode is semantic"):
        policy(current={"mode": Mode.SEMANTIC})
