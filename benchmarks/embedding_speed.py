"""What does a vector take, and what is lost to int8? Processor time of one thread, and pairs told apart.

Beside the embedder that ships: the naive one without a model, and the same model in float32 through torch, as
libraries of sentence embeddings run it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.minilm_torch import PlainMiniLM
from benchmarks.report import Check, at_most, parser, publish
from semantic_cache.embedder import Embedder, Vectors
from semantic_cache.lexical_embedder import LexicalEmbedder
from semantic_cache.minilm_tokens import PieceCutter, open_cutter
from semantic_cache.minilm_weights import DIMENSION, find_model
from semantic_cache.onnx_embedder import open_embedder

QUESTION = "How long does it take to learn Python from scratch?"  # 13 pieces
LONG = " ".join([QUESTION] * 18)
_SETS = ("qqp_pairs", "trap_pairs")


class TorchEmbedder(Embedder):
    fingerprint, dimension = "all-MiniLM-L6-v2 float32", DIMENSION

    def __init__(self, model: PlainMiniLM, cutter: PieceCutter) -> None:
        self._model, self._cutter = model, cutter

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._model.vector(self._cutter.cut(text).ids) for text in texts])


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", type=Path, metavar="DIR", help="evaluation data; without it, speed alone")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    repeats, num_pairs = (40, 300) if options.quick else (300, 4000)
    files = find_model()
    with tempfile.TemporaryDirectory() as directory:
        built, opened = (_seconds(lambda: open_embedder(Path(directory))) for _ in range(2))
        shipped = open_embedder(Path(directory))
    embedders: dict[str, Embedder] = {
        "lexical": LexicalEmbedder(),
        "torch float32": TorchEmbedder(PlainMiniLM(files.load()), open_cutter(files.tokenizer)),
        "ONNX int8": shipped,
    }
    speeds = {name: _speed(embedder, repeats) for name, embedder in embedders.items()}
    rows: list[dict[str, Any]] = [{"embedder": name, **speed} for name, speed in speeds.items()]
    rows.append({"corpus": "to open, s", "built": built, "read": opened})
    checks = [at_most("a question of 13 pieces, ms p50", speeds["ONNX int8"]["question_p50_ms"], 3.0)]
    for name in _SETS if options.data else ():
        row = _quality(embedders, options.data / "semantic" / f"{name}.jsonl", num_pairs)
        rows.append({"corpus": "AUC", "pairs": name, **row})
        checks.append(_lost(name, row))
    publish("embedding_speed", rows, checks, options.json)


def _seconds(call: Callable[[], object]) -> float:
    """Of the processor."""
    start = time.process_time()
    call()
    return time.process_time() - start


def _speed(embedder: Embedder, repeats: int) -> dict[str, float]:
    question = _milliseconds(embedder, QUESTION, repeats)
    return {
        "question_min_ms": min(question),
        "question_p50_ms": float(np.median(question)),
        "question_p99_ms": float(np.percentile(question, 99)),
        "256_pieces_min_ms": min(_milliseconds(embedder, LONG, max(repeats // 10, 5))),
    }


def _milliseconds(embedder: Embedder, text: str, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        embedder.embed([text])
        times.append(1e3 * (time.thread_time() - start))
    return times


def _quality(embedders: Mapping[str, Embedder], path: Path, num_pairs: int) -> dict[str, float]:
    """The chance that a pair with the same answer has the higher cosine than one without."""
    pairs = [json.loads(line) for line in path.read_text().splitlines()[:num_pairs]]
    same = np.array([bool(pair["same"]) for pair in pairs])
    row = {}
    for name, embedder in embedders.items():
        cosines = np.array([np.dot(*embedder.embed([pair["a"], pair["b"]])) for pair in pairs])
        row[name] = _auc(cosines[same], cosines[~same])
    return row


def _auc(higher: Vectors, lower: Vectors) -> float:
    lower = np.sort(lower)
    below, not_above = np.searchsorted(lower, higher, "left"), np.searchsorted(lower, higher, "right")
    return float((below + not_above).mean() / (2 * len(lower)))


def _lost(name: str, row: Mapping[str, float]) -> Check:
    return at_most(f"AUC lost to int8, {name}", row["torch float32"] - row["ONNX int8"], 0.003)


if __name__ == "__main__":
    main()
