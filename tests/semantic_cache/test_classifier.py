"""The classifier: what it learns of examples, and when it says nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from semantic_cache.classifier import ExampleClassifier, NoClassifier
from semantic_cache.embedder import Embedder

DIMENSION = 16


class ByName(Embedder):
    """Texts "a 7" lie around the direction of their letter, at random but always the same."""

    fingerprint = "by name"
    dimension = DIMENSION

    def __init__(self, noise=0.3):
        self.noise = noise

    def embed(self, texts):
        vectors = np.zeros((len(texts), DIMENSION), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            letter, number = text.split()
            row[ord(letter) - ord("a")] = 1
            row += self.noise * np.random.default_rng(int(number) * 31 + ord(letter)).normal(size=DIMENSION)
            row /= np.linalg.norm(row)
        return vectors


def examples(letters, number=20):
    return {letter: [f"{letter} {index}" for index in range(number)] for letter in letters}


def test_queries_like_its_examples_are_claimed():
    embedder = ByName()
    classifier = ExampleClassifier.learned(examples("abc"), embedder)
    for letter in "abc":
        claims = [
            classifier.claim(vector) for vector in embedder.embed([f"{letter} {index}" for index in range(900, 950)])
        ]
        assert sum(claim is not None and claim.category == letter for claim in claims) > 40


def test_what_it_claims_of_new_queries_is_mostly_right_even_where_categories_overlap():
    embedder = ByName(noise=0.5)
    classifier = ExampleClassifier.learned(examples("abcd", 30), embedder)
    claims = []
    for letter in "abcd":
        for vector in embedder.embed([f"{letter} {index}" for index in range(900, 1100)]):
            claim = classifier.claim(vector)
            if claim is not None:
                claims.append(claim.category == letter)
    assert 50 < len(claims) < 800, "some are claimed, some are not"
    assert np.mean(claims) > 0.8


def test_categories_with_the_same_examples_claim_nothing():
    embedder = ByName()
    same = {"one": ["a 1", "a 2", "a 3"], "other": ["a 1", "a 2", "a 3"]}
    classifier = ExampleClassifier.learned(same, embedder)
    assert classifier.claim(embedder.embed(["a 1"])[0]) is None


def test_fewer_than_two_categories_teach_nothing():
    embedder = ByName()
    for few in ({}, {"a": ["a 1"]}, {"a": ["a 1"], "b": []}):
        assert isinstance(ExampleClassifier.learned(few, embedder), NoClassifier)
        assert ExampleClassifier.learned(few, embedder).claim(embedder.embed(["a 1"])[0]) is None


def test_the_same_examples_teach_the_same():
    embedder = ByName()
    one, other = (ExampleClassifier.learned(examples("ab"), embedder) for _ in range(2))
    vector = embedder.embed(["b 77"])[0]
    assert one.claim(vector) == other.claim(vector)


@given(st.lists(st.floats(-1, 1, width=32), min_size=DIMENSION, max_size=DIMENSION))
def test_any_vector_has_an_answer(values):
    claim = _CLASSIFIER.claim(np.array(values, np.float32))
    assert claim is None or claim.lead >= _CLASSIFIER.least_lead


_CLASSIFIER = ExampleClassifier.learned(examples("ab"), ByName())
