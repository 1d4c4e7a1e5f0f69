"""Does the semantic cache answer more, and less of it wrongly, than caches that go by the cosine?

Pairs of questions that may or must not share an answer, edits of one word, conversations with the same last message,
and a trace of requests that is calibrated on its first half and tested on its second: ours, thresholds of the cosine,
and GPTCache where it is installed, all with the same vectors of the same embedder in one run. Then how long a lookup
and an insert take, with and without the embedding.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.call_times import CallTimes
from benchmarks.report import Check, at_most, parser, publish
from benchmarks.semantic_bound import bound_table
from benchmarks.semantic_edits import edited
from benchmarks.semantic_load import load_table
from benchmarks.semantic_ours import example_texts, judge_of
from benchmarks.semantic_pair_tables import PairSets, pair_tables
from benchmarks.semantic_pairs import read_conversations, read_pairs
from benchmarks.semantic_peer import GPTCache
from benchmarks.semantic_speed import beside_peer, speed_tables
from benchmarks.semantic_trace import Request, read_trace
from benchmarks.semantic_trace_tables import trace_tables
from benchmarks.semantic_vectors import Embedded, TableEmbedder, embedded
from semantic_cache.onnx_embedder import OnnxEmbedder, open_embedder


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="the directory of the pairs and the trace")
    options.add_argument("--graphs", type=Path, default=Path("out"), help="where the embedder keeps what it built")
    options.add_argument(
        "--path", type=Path, help="where entries are kept while lookups are timed; else a temporary one"
    )
    options.add_argument("--large", action="store_true", help="a million entries as well: some 3 GB, and 15 minutes")
    options.add_argument("--gptcache-python", default=sys.executable, help="an interpreter that has GPTCache")
    arguments = options.parse_args()
    random.seed(0)  # by which budgets explore
    sets, requests = read_all(arguments.data, arguments.quick)
    texts = [*sets.texts(), *(request.text for request in requests), *example_texts()]
    model = open_embedder(arguments.graphs)
    had = embedded(model, texts)
    judge = judge_of(model)
    version = GPTCache.version(arguments.gptcache_python)
    rows: list[dict[str, Any]] = [{"corpus": "beside", "GPTCache": version or "absent: not installed"}]
    with _peer(arguments, had.table, version) as peer:
        pair_rows, checks = pair_tables(sets, had.table, judge, peer)
        trace_rows, trace_checks = trace_tables(requests, had.table, judge, peer)
        load_rows, load_checks = load_table(requests, had.table, judge)
        bound_rows, bound_checks = bound_table(requests, had.table, judge, 4000 if arguments.quick else 20_000)
        speed_rows, speed_checks = _speed(arguments, had, model, peer)
    rows += pair_rows + trace_rows + bound_rows + load_rows + speed_rows
    publish("semantic", rows, checks + trace_checks + bound_checks + load_checks + speed_checks, arguments.json)


def read_all(data: Path, quick: bool) -> tuple[PairSets, list[Request]]:
    """All of it, or enough of it to see that it works."""
    few = random.Random(0)

    def some(pairs: list[Any], count: int) -> list[Any]:
        return few.sample(pairs, min(count, len(pairs)))

    duplicates = read_pairs(data / "qqp_pairs.jsonl")
    queries = [json.loads(line)["text"] for line in (data / "category_queries.jsonl").read_text().splitlines()]
    sets = PairSets(
        traps=read_pairs(data / "trap_pairs.jsonl"),
        checklist=some(read_pairs(data / "checklist_pairs.jsonl"), 400 if quick else 4100),
        duplicates=some(duplicates, 500 if quick else 4000),
        edits=edited([*(pair.stored for pair in duplicates), *queries], 200 if quick else 2000),
        conversations=read_conversations(data / "conversation_pairs.jsonl"),
    )
    requests = read_trace(data / "request_trace.jsonl")
    return sets, requests[:2000] if quick else requests


def _speed(
    arguments: argparse.Namespace, had: Embedded, model: OnnxEmbedder, peer: GPTCache | None
) -> tuple[list[dict[str, Any]], list[Check]]:
    short = [place for place, text in enumerate(had.table.texts) if 5 <= len(text.split()) <= 15]
    times = CallTimes([had.cpu_ms[place] for place in short], [had.wall_ms[place] for place in short]).percentiles()
    rows: list[dict[str, Any]] = [{"corpus": "embedding of a short question", **times}]
    checks = [at_most("embedding of a short question, p50 ms of CPU", times["cpu_p50_ms"], 3.0)]
    counts = (10**4,) if arguments.quick else (10**4, 10**5, *((10**6,) if arguments.large else ()))
    with tempfile.TemporaryDirectory(dir=arguments.path) as directory:
        found = [speed_tables(counts, had.table, model, Path(directory))]
        if peer is not None:
            many = (1000, 300) if arguments.quick else (5000, 1000)
            found.append(beside_peer(had.table, model, peer, Path(directory), *many))
    for more_rows, more_checks in found:
        rows += more_rows
        checks += more_checks
    return rows, checks


@contextmanager
def _peer(arguments: argparse.Namespace, table: TableEmbedder, version: str | None) -> Iterator[GPTCache | None]:
    if version is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        table.write(Path(directory))
        with GPTCache(arguments.gptcache_python, Path(directory), arguments.graphs) as peer:
            yield peer


if __name__ == "__main__":
    main()
