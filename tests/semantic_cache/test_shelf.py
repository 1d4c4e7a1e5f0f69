"""What is held goes from the documents, the index and the quotas together."""

import math

import numpy as np

from semantic_cache.documents import Document
from semantic_cache.flat_index import FlatIndex
from semantic_cache.memory_documents import MemoryDocuments
from semantic_cache.query import Query
from semantic_cache.quota import Quotas
from semantic_cache.shelf import Shelf

VECTOR = np.eye(1, 4, dtype=np.float32)[0]


def test_what_has_expired_goes_from_everywhere_and_nothing_else():
    documents, index = MemoryDocuments(), FlatIndex(4)
    shelf = Shelf(documents, index, Quotas(100, 1 << 20, lambda category: 1.0))
    for text, category, expires_at_s in (("a", "docs", 10.0), ("b", "code", 20.0), ("c", "docs", math.inf)):
        shelf.put(Document(Query(text), category, b"said", "w", 0.0, expires_at_s, 1.0), VECTOR)
    left = []
    for now_s in (9.0, 10.0, 20.0):
        shelf.drop_expired(now_s)
        left.append([documents.get(held.id).query.text for held in shelf.held()])
        assert len(index) == len(left[-1]) == sum(shelf.quotas.holding(name).entries for name in ("docs", "code"))
    assert left == [["a", "b", "c"], ["b", "c"], ["c"]]
