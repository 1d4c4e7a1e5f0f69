"""Documents of every kind, for what all of them keep to."""

from semantic_cache.lmdb_documents import LmdbDocuments
from semantic_cache.memory_documents import MemoryDocuments
from tests.semantic_cache.contracts_of_documents import DocumentsContract
from tests.semantic_cache.made_up import DIMENSION


class TestMemoryDocuments(DocumentsContract):
    def make_documents(self, tmp_path):
        return MemoryDocuments()


class TestLmdbDocuments(DocumentsContract):
    def make_documents(self, tmp_path):
        return LmdbDocuments(tmp_path / "answers", "an embedder", DIMENSION)

    def end(self, documents):
        assert documents.num_damaged == 0
        documents.close()
