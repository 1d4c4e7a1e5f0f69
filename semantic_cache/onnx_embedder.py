"""OnnxEmbedder: all-MiniLM-L6-v2 in int8 through ONNX Runtime; and what it sees of a text besides its vector."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from kvstore.errors import MissingModel
from semantic_cache.embedder import Embedder, Vectors
from semantic_cache.minilm_file import read_or_build
from semantic_cache.minilm_graph import PIECE_VECTORS, PIECES, VECTOR
from semantic_cache.minilm_tokens import INSTALL, MOST_CHARACTERS, PieceCutter, open_cutter
from semantic_cache.minilm_weights import DIMENSION, find_model

_PROBES = (
    "Rice",
    "How long does it take to learn Python, and where do I begin?",
    "Ist der Zug um 14:05 Uhr von Zürich nach München pünktlich? 東京 is 9,560 km away; naïve_café() isn't.",
)


@dataclass(frozen=True)
class TextVectors:
    """Of one text, from one pass."""

    vector: Vectors
    """[dimension], as `Embedder.embed` gives it."""
    words: tuple[str, ...]
    """As they stand in the text, without the space between; punctuation marks, and CJK characters, each on its own."""
    spans: tuple[tuple[int, int], ...]
    """Of each word its characters [start, end); in order, apart from each other. The text is cut behind the last."""
    word_vectors: Vectors
    """[word, dimension], each of length 1: what the word means here, by the mean of its pieces."""


class OnnxEmbedder(Embedder):
    """Of a text, its first 256 word pieces (some 180 English words) in its first 16,384 characters.

    Texts are run one by one, in the caller's thread and without the GIL: activations are quantized over all that is run
    at once, so that a text's vector would depend on those beside it.
    """

    def __init__(self, session: Any, cutter: PieceCutter, fingerprint: str) -> None:
        """`session` is an `onnxruntime.InferenceSession` of a graph as `minilm_graph.build` makes it."""
        self._session, self._cutter = session, cutter
        self.fingerprint, self.dimension = fingerprint, DIMENSION

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            vector[:] = self._run([VECTOR], self._cutter.cut(text).ids)[0]
        return vectors

    def look(self, text: str) -> TextVectors:
        """The text's vector and its words', for no more than the vector alone. Raises as `embed`."""
        pieces = self._cutter.cut(text)
        vector, states = self._run([VECTOR, PIECE_VECTORS], pieces.ids)
        sums = np.add.reduceat(states[:-1], pieces.firsts) if pieces.firsts else states[:0]
        words = tuple(text[start:end] for start, end in pieces.spans)
        return TextVectors(vector, words, pieces.spans, sums / np.linalg.norm(sums, axis=1, keepdims=True))

    def _run(self, outputs: list[str], ids: NDArray[np.int64]) -> list[Vectors]:
        results: list[Vectors] = self._session.run(outputs, {PIECES: ids})
        return results


def open_embedder(cache_directory: Path, num_threads: int = 1) -> OnnxEmbedder:
    """Its graph is built at the first call for a directory (a second), and read from there afterwards.

    `num_threads` are those that one text is run in. Raises MissingModel, which names what to install;
    EmbedderUnavailable when the model's files cannot be read.
    """
    runtime, files = _runtime(), find_model()
    content = read_or_build(files, cache_directory)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # it is as it should be run
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    cutter = open_cutter(files.tokenizer)
    unnamed = OnnxEmbedder(session, cutter, "")
    return OnnxEmbedder(session, cutter, _fingerprint(content, files.tokenizer, unnamed.embed(_PROBES)))


def _runtime() -> Any:
    """ONNX Runtime, which since 1.29 tells its makers what it runs, unless told not to before it is imported."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingModel(f"{error.name} is not installed: {INSTALL}") from error
    return onnxruntime


def _fingerprint(graph: bytes, tokenizer: Path, probes: Vectors) -> str:
    """Of the graph, with its weights; of how texts are cut; and of the arithmetic.

    Processors that add in another order, and versions of ONNX Runtime, differ in the last bit: where that brings an
    activation to another step, a text's vector moves by as much as quantization had moved it. `probes` tell them apart.
    """
    digest = xxhash.xxh3_128(graph)
    digest.update(tokenizer.read_bytes())
    digest.update(f"{MOST_CHARACTERS} characters, tokenizers {version('tokenizers')}".encode())
    digest.update(probes.tobytes())
    return f"all-MiniLM-L6-v2 int8 {digest.hexdigest()}"
