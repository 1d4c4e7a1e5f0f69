"""What every embedder promises. Subclasses have a fixture `embedder`."""

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.lists(st.text(max_size=60), max_size=5)
STRANGE = [
    "",
    " ",
    "\n\t\0",
    "\ud800",
    "a\udfffb",
    "🍏🍎",
    "e\u0301" * 50,
    "no" * 100_000,
    "x " * 9_000,
    "[SEP] [MASK]",
]


class EmbedderContract:
    @given(texts=TEXTS)
    def test_every_text_has_a_vector_of_length_1(self, embedder, texts):
        vectors = embedder.embed(texts)
        assert vectors.shape == (len(texts), embedder.dimension)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)

    def test_so_have_strange_ones(self, embedder):
        np.testing.assert_allclose(np.linalg.norm(embedder.embed(STRANGE), axis=1), 1.0, atol=1e-5)

    @given(texts=TEXTS)
    def test_a_text_has_the_same_vector_alone_and_among_others(self, embedder, texts):
        alone = [embedder.embed([text])[0] for text in texts]
        assert all(map(np.array_equal, alone, embedder.embed(texts)))

    def test_and_in_several_threads_at_once(self, embedder):
        texts = [f"What costs a ticket to platform {number}?" for number in range(40)]
        expected, found = embedder.embed(texts), {}

        def embed(at):
            found[at] = embedder.embed(texts)

        threads = [threading.Thread(target=embed, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert all(np.array_equal(expected, vectors) for vectors in found.values())

    def test_what_is_alike_is_nearer(self, embedder):
        asked, alike, another = embedder.embed(
            ["How do I learn Python?", "What is a good way to learn Python?", "Which rice is best for a risotto?"]
        )
        assert asked @ alike > asked @ another + 0.2
