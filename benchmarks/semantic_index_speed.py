"""How long a vector index takes to find the nearest of so many answers, with its document, and to be opened again?

All in one partition. Vectors are real ones (`--vectors`, a float32 file of numpy, [text, dimension], of length 1) or
made up in clusters; where there are too few, copies with some noise stand in. Queries are vectors that are not held.
Times are of the processor, in one thread.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Check, at_least, at_most, parser, publish
from semantic_cache.answers import Answers, open_answers
from semantic_cache.documents import Document
from semantic_cache.flat_index import FlatIndex
from semantic_cache.index import VectorIndex
from semantic_cache.query import Query

Vectors = NDArray[np.float32]
_NUM_QUERIES, _K = 1000, 5
_NOISE = 0.3  # length of what is added to a copy
_RESPONSE = b"x" * 1000
_FLAT_MOST = 3000  # the control copies all of a partition for every addition


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--vectors", type=Path, help="real ones; made up where there is no file")
    options.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments = options.parse_args()
    sizes = [10_000] if arguments.quick else arguments.sizes
    vectors = np.load(arguments.vectors) if arguments.vectors else made_up(50_000, 384)
    rows, checks = [], list[Check]()
    for size in sizes:
        held, queries = _at_size(vectors, size)
        if size <= _FLAT_MOST:
            rows.append(_flat(held, queries))
        rows.append(_answers(held, queries))
        checks += _checks(rows[-1])
    rows.append(_conversations(made_up(10_000, vectors.shape[1])))
    publish("semantic_index_speed", rows, checks, arguments.json)


def made_up(number: int, dimension: int) -> Vectors:
    """In clusters of ten on average, [number, dimension]."""
    random = np.random.default_rng(0)
    spread = np.exp(-np.arange(dimension) / 60).astype(np.float32)  # as in text, few directions say most
    centers = random.standard_normal((max(1, number // 10), dimension), np.float32) * spread
    noise = random.standard_normal((number, dimension), np.float32) * spread
    return _of_length_1(centers[random.integers(0, len(centers), number)] + 0.5 * noise)


def _at_size(vectors: Vectors, size: int) -> tuple[Vectors, Vectors]:
    """What is held, and queries."""
    random = np.random.default_rng(1)
    chosen = vectors[random.permutation(len(vectors))]
    queries, chosen = chosen[:_NUM_QUERIES], chosen[_NUM_QUERIES:]
    held = np.resize(chosen, (size, vectors.shape[1]))
    for start in range(len(chosen), size, 10_000):
        part = held[start : start + 10_000]
        noise = random.standard_normal(part.shape, np.float32)
        part[:] = _of_length_1(part + _NOISE / math.sqrt(part.shape[1]) * noise)
    return held, queries


def _of_length_1(vectors: Vectors) -> Vectors:
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def _flat(held: Vectors, queries: Vectors) -> dict[str, Any]:
    index = FlatIndex(held.shape[1])
    for number, vector in enumerate(held):
        index.add(b"one", number, vector)
    return {"index": "flat", "vectors": len(held), **_searched(index, b"one", held, queries)}


def _answers(held: Vectors, queries: Vectors) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        with open_answers(directory, "benchmark", held.shape[1]) as answers:
            before = _resident_bytes()
            put_s, added_s = _fill(answers, held)
            begin = time.process_time()
            answers.settled()
            built_s = time.process_time() - begin
            held_bytes = (_resident_bytes() - before) / len(held)
        begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        with open_answers(directory, "benchmark", held.shape[1]) as answers:
            opened_s, opened_cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
            partition = Query("").partition
            searched = _searched(answers.index, partition, held, queries)
            fetched_ms = _milliseconds(lambda query: _search_and_fetch(answers, partition, query), queries)
            index_bytes = (Path(directory) / "index").stat().st_size
            document_bytes = answers.documents.file_bytes()
    return {
        "index": "hnsw",
        "vectors": len(held),
        **searched,
        "with_document_p50_ms": float(np.quantile(fetched_ms, 0.5)),
        "with_document_p99_ms": float(np.quantile(fetched_ms, 0.99)),
        "put_p50_ms": float(np.quantile(put_s, 0.5)) * 1e3,
        "put_p99_ms": float(np.quantile(put_s, 0.99)) * 1e3,
        "add_p50_ms": float(np.quantile(added_s, 0.5)) * 1e3,
        "add_p99_ms": float(np.quantile(added_s, 0.99)) * 1e3,
        "built_s": built_s,
        "opened_s": opened_s,
        "opened_cpu_s": opened_cpu_s,
        "resident_bytes_each": held_bytes,
        "index_bytes_each": index_bytes / len(held),
        "document_bytes_each": document_bytes / len(held),
    }


def _fill(answers: Answers, held: Vectors) -> tuple[list[float], list[float]]:
    """Seconds of each put, and of each addition to the index."""
    put_s, added_s = [], []
    for number, vector in enumerate(held):
        document = Document(Query(f"question {number}"), "default", _RESPONSE, "benchmark", 0.0, math.inf, 1.0)
        begin = time.thread_time()
        put = answers.documents.put(document, vector)
        middle = time.thread_time()
        answers.index.add(put.partition, put.id, vector)
        put_s.append(middle - begin)
        added_s.append(time.thread_time() - middle)
    return put_s, added_s


def _searched(index: VectorIndex, partition: bytes, held: Vectors, queries: Vectors) -> dict[str, float]:
    nearest = _nearest(held, queries)
    found = [index.search(partition, query, _K) for query in queries]
    right = [
        each[0].cosine >= cosine - 1e-6 or each[0].id == row for each, (row, cosine) in zip(found, nearest, strict=True)
    ]
    off = [
        abs(each[0].cosine - cosine) for each, (row, cosine) in zip(found, nearest, strict=True) if each[0].id == row
    ]
    milliseconds = _milliseconds(lambda query: index.search(partition, query, _K), queries)
    return {
        "recall_at_1": float(np.mean(right)),
        "cosine_off_by": float(np.mean(off)),
        "cosine_off_by_at_most": float(np.max(off)),
        "search_p50_ms": float(np.quantile(milliseconds, 0.5)),
        "search_p99_ms": float(np.quantile(milliseconds, 0.99)),
    }


def _nearest(held: Vectors, queries: Vectors) -> list[tuple[int, float]]:
    """By looking at all: id and cosine."""
    best = np.full(len(queries), -2.0, np.float32)
    rows = np.zeros(len(queries), np.int64)
    for start in range(0, len(held), 20_000):
        cosines = queries @ held[start : start + 20_000].T
        found = cosines.argmax(1)
        better = cosines.max(1) > best
        best[better], rows[better] = cosines.max(1)[better], start + found[better]
    return list(zip(rows.tolist(), best.tolist(), strict=True))


def _search_and_fetch(answers: Answers, partition: bytes, query: Vectors) -> None:
    nearest = answers.index.search(partition, query, _K)
    if answers.documents.get(nearest[0].id) is None:
        raise RuntimeError(f"document {nearest[0].id} is in the index and not held")


def _milliseconds(ask: Callable[[Vectors], object], queries: Vectors) -> list[float]:
    """Of each query, the least of three."""
    taken = []
    for query in queries:
        each = []
        for _ in range(3):
            begin = time.thread_time()
            ask(query)
            each.append(time.thread_time() - begin)
        taken.append(min(each) * 1e3)
    return taken


def _conversations(vectors: Vectors) -> dict[str, Any]:
    """Of one answer each, every one in its own partition."""
    with tempfile.TemporaryDirectory() as directory, open_answers(directory, "benchmark", vectors.shape[1]) as answers:
        partitions = [Query("", tenant=str(number)).partition for number in range(len(vectors))]
        before = _resident_bytes()
        for number, (partition, vector) in enumerate(zip(partitions, vectors, strict=True)):
            answers.index.add(partition, number, vector)
        return {
            "index": "partitions of one",
            "vectors": len(vectors),
            "resident_bytes_each": (_resident_bytes() - before) / len(vectors),
        }


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _checks(row: dict[str, Any]) -> Sequence[Check]:
    size = row["vectors"]
    recall = at_least(f"recall at 1 of {size}", row["recall_at_1"], 0.96)
    if size == 100_000:
        return [
            recall,
            at_most(f"search and document of {size}, p50 ms", row["with_document_p50_ms"], 0.35),
            at_most(f"opened with {size}, s", row["opened_s"], 1.0),
        ]
    if size == 1_000_000:
        return [recall, at_most(f"search of {size}, p99 ms", row["search_p99_ms"], 0.6)]
    return [recall]


if __name__ == "__main__":
    main()
