"""GPTCache in a process of its own: a JSON command a line in, its answer a line out.

SQLite and faiss, SearchDistanceEvaluation, and as the embedding ours: live (`model`), or as it was computed before
(`table`). The directory has the texts and vectors of the table, and takes GPTCache's files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from gptcache import Cache, Config
from gptcache.adapter.api import get, put
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.processor.pre import get_prompt
from gptcache.similarity_evaluation import SearchDistanceEvaluation

from benchmarks.call_times import CallTimes
from benchmarks.semantic_vectors import read_table
from semantic_cache.embedder import Embedder, Vectors
from semantic_cache.onnx_embedder import open_embedder

_MOST_ENTRIES = 1_000_000  # else its memory keeps but 1,000 of them


class _Switched(Embedder):
    """Another one from one moment on."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder, self.fingerprint, self.dimension = embedder, embedder.fingerprint, embedder.dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self.embedder.embed(texts)


class Peer:
    """What is asked of it by name; all arguments and results are JSON."""

    def __init__(self, directory: Path, graph: Path) -> None:
        """`graph`: where the embedder keeps what it built."""
        self._directory, self._graph = directory, graph
        self._table = read_table(directory)
        self._names = count()

    def decide(self, pairs: Sequence[tuple[str, str]], threshold: float) -> list[bool]:
        """Of texts alone together, whether the one's answer is served to the other: by its own evaluation."""
        evaluation = SearchDistanceEvaluation()
        low, high = evaluation.range()
        least = min(max((high - low) * threshold, low), high)
        served = []
        for asked, stored in pairs:
            apart = np.subtract(*self._table.embed([asked, stored]))
            served.append(evaluation.evaluation({}, {"search_result": (float(apart @ apart), None)}) >= least)
        return [bool(each) for each in served]

    def replay(self, requests: Sequence[tuple[str, str, str]], live_from: int, threshold: float) -> list[str | None]:
        """Of (tenant, text, answer), what it answers: None for what it has computed. A cache for each tenant.

        Before `live_from` nothing is answered but the same words, and all is put.
        """
        caches: dict[str, Cache] = {}
        known, answers = set[tuple[str, str]](), list[str | None]()
        for place, (tenant, text, answer) in enumerate(requests):
            if tenant not in caches:
                caches[tenant] = self._cache(self._table, threshold)
            if place < live_from:
                found = answer if (tenant, text) in known else None
            else:
                found = get(text, cache_obj=caches[tenant])
            if found is None:
                put(text, answer, cache_obj=caches[tenant])
                known.add((tenant, text))
            answers.append(found)
        return answers

    def speed(self, stored: Sequence[str], asked: Sequence[str]) -> dict[str, dict[str, list[float]]]:
        """CPU and wall milliseconds of each put and get, by what was done."""
        live = _Switched(self._table)
        cache = self._cache(live, Config().similarity_threshold)
        times = {"put": CallTimes(), "get": CallTimes(), "get with the embedding": CallTimes()}
        for place, text in enumerate(stored):
            with times["put"].call():
                put(text, str(place), cache_obj=cache)
        for what, embedder in {"get": self._table, "get with the embedding": open_embedder(self._graph)}.items():
            live.embedder = embedder
            for text in asked:
                with times[what].call():
                    get(text, cache_obj=cache)
        return {what: {"cpu_ms": each.cpu_ms, "wall_ms": each.wall_ms} for what, each in times.items()}

    def _cache(self, embedder: Embedder, threshold: float) -> Cache:
        directory = self._directory / f"gptcache-{next(self._names)}"
        directory.mkdir()
        manager = get_data_manager(
            CacheBase("sqlite", sql_url=f"sqlite:///{directory}/sqlite.db"),
            VectorBase("faiss", dimension=embedder.dimension, index_path=f"{directory}/faiss.index"),
            max_size=_MOST_ENTRIES,
        )
        cache = Cache()
        cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=lambda text, **_: embedder.embed([text])[0],
            data_manager=manager,
            similarity_evaluation=SearchDistanceEvaluation(),
            config=Config(similarity_threshold=threshold),
        )
        return cache


def main() -> None:
    peer = Peer(Path(sys.argv[1]), Path(sys.argv[2]))
    answers, sys.stdout = sys.stdout, sys.stderr  # what it prints is no answer
    for line in sys.stdin:
        command = json.loads(line)
        method: Callable[..., Any] = getattr(peer, command.pop("do"))
        print(json.dumps(method(**command)), file=answers, flush=True)


if __name__ == "__main__":
    main()
