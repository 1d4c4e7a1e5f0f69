"""Made-up answers and vectors."""

import math

import numpy as np

from semantic_cache.documents import Document
from semantic_cache.query import Query

DIMENSION = 8


def vector(number, dimension=DIMENSION):
    """Of length 1; no two numbers have the same."""
    made = np.random.default_rng(number).standard_normal(dimension).astype(np.float32)
    return made / np.linalg.norm(made)


def vectors(count, dimension=DIMENSION):
    """[count, dimension]."""
    made = np.random.default_rng(count).standard_normal((count, dimension)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def document(text, response=b"an answer", tenant="", expires_at_s=math.inf, category="general"):
    return Document(Query(text, tenant=tenant), category, response, "a writer", 1.5, expires_at_s, 2.5)
