"""How long lookups and inserts take by the number of entries, what an entry costs in memory, and a restart."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.call_times import CallTimes
from benchmarks.report import Check, at_least, at_most
from benchmarks.semantic_ours import CUT, Clock, cache_of, example_texts, judge_of, shipped_policy, trusting
from benchmarks.semantic_peer import GPTCache
from benchmarks.semantic_vectors import TableEmbedder, near_copies
from semantic_cache.answers import Answers, open_answers
from semantic_cache.cache import NUM_NEIGHBORS, SemanticCache
from semantic_cache.candidates import Candidates
from semantic_cache.embedder import Embedder
from semantic_cache.judge import CosineJudge, Judge
from semantic_cache.learned_judge import GuardedJudge
from semantic_cache.onnx_embedder import OnnxEmbedder
from semantic_cache.query import Query

_CATEGORY = "support"
_POLITE = ("please", "thanks", "thank you", "cheers", "kindly", "hello", "hi", "many thanks", "again", "now")
_ANSWER = b"x" * 1000
_LOOKUPS, _WARM_UP = 2000, 200
_ASKED_BEFORE = 4000  # of a service that has run for a while: it has met most words
_COMPARED_AT_ONCE = 50  # with every entry
_LOOKED_UP = "search, fetch and guards, at first", "search, fetch and guards", "lookup, guards alone"


class Filled:
    """A cache with so many entries in a directory, of which most are near copies of those that were embedded."""

    def __init__(self, answers: Answers, entries: TableEmbedder, policy_of: TableEmbedder) -> None:
        self.answers, self._entries = answers, entries
        policy, certifiers = shipped_policy(policy_of, trusted=CUT), trusting()
        self._make: Callable[[Embedder, Judge], SemanticCache] = lambda embedder, judge: cache_of(
            answers.documents, answers.index, embedder, judge, policy, certifiers, Clock()
        )

    def fill(self) -> CallTimes:
        """The background builds its graph meanwhile, of which the time is not the call's."""
        times, cache = CallTimes(), self._make(self._entries, CosineJudge(self._entries.fingerprint))
        for text in self._entries.texts:
            with times.call(time.thread_time):
                cache.add(Query(text, category=_CATEGORY), _ANSWER, "", 1.0)
        self.answers.settled()
        return times

    def find(self, embedder: Embedder, judge: Judge, texts: Sequence[str]) -> CallTimes:
        times, cache = CallTimes(), self._make(embedder, judge)
        for text in texts[:_WARM_UP]:
            cache.find(Query(text, category=_CATEGORY))
        for text in texts[_WARM_UP:]:
            with times.call():
                cache.find(Query(text, category=_CATEGORY))
        return times

    def find_again(self, embedder: Embedder, judge: Judge, texts: Sequence[str]) -> CallTimes:
        """When the judge has looked at all of them once, so that what is timed has no embedding in it."""
        self.find(embedder, judge, texts)
        return self.find(embedder, judge, texts)

    def judge(self, judge: Judge, asked: TableEmbedder) -> CallTimes:
        """Search, fetch and guards: what of a lookup is about neighbours."""
        times, cache = CallTimes(), self._make(asked, judge)
        candidates, policy = Candidates(cache.shelf, judge), cache.policy()
        category = policy.named(_CATEGORY)
        for number, (text, vector) in enumerate(zip(asked.texts, asked.vectors, strict=True)):
            query = Query(text, category=_CATEGORY)
            with times.call() if number >= _WARM_UP else nullcontext():
                neighbors = cache.shelf.near(query, vector, NUM_NEIGHBORS)
                candidates.best(query, category, neighbors, policy, 0.0, 0.0)
        return times

    def search(self, asked: TableEmbedder) -> CallTimes:
        """The index alone."""
        times, partition = CallTimes(), Query("").partition
        for vector in asked.vectors:
            with times.call():
                self.answers.index.search(partition, vector, 5)
        return times

    def recall(self, asked: TableEmbedder) -> float:
        """Share of lookups whose first neighbour is the nearest there is."""
        partition, found = Query("").partition, 0
        for start in range(0, len(asked.vectors), _COMPARED_AT_ONCE):
            vectors = asked.vectors[start : start + _COMPARED_AT_ONCE]
            best = (vectors @ self._entries.vectors.T).argmax(axis=1)
            for vector, row in zip(vectors, best.tolist(), strict=True):
                document = self.answers.documents.get(self.answers.index.search(partition, vector, 1)[0].id)
                found += document is not None and document.query.text == self._entries.texts[row]
        return found / len(asked.vectors)


def speed_tables(
    counts: Sequence[int], table: TableEmbedder, model: OnnxEmbedder, directory: Path
) -> tuple[list[dict[str, Any]], list[Check]]:
    """Of each number of entries; `model` is the embedder that the table is of."""
    rows, checks = list[dict[str, Any]](), list[Check]()
    for count in counts:
        entries, (asked, asked_before) = _entries(table, count), _asked(table)
        place = directory / str(count)
        with open_answers(place, table.fingerprint, table.dimension) as answers:
            filled = Filled(answers, entries, table)
            inserts = filled.fill()
            at_first = filled.judge(_guards(table), asked_before)
            judged = asked.texts[: len(asked.texts) // 4]
            ways = {
                "insert": inserts,
                "search alone": filled.search(asked),
                "search, fetch and guards, at first": at_first,
                "search, fetch and guards": filled.judge(_guards(table), asked),
                "lookup, guards alone": filled.find(asked, _guards(table), asked.texts),
                "lookup": filled.find_again(asked, judge_of(model), judged),
                "lookup with the embedding": filled.find(model, judge_of(model), judged),
            }
            recall = filled.recall(asked)
        rows += [
            {"corpus": "speed, one thread", "entries": count, "what": what, **times.percentiles()}
            for what, times in ways.items()
        ]
        restarted = _restarted(place, table, asked)
        rows.append({"corpus": "restart and memory", "entries": count, "recall_at_1": recall, **restarted})
        checks += _checks(count, ways, recall, restarted)
    return rows, checks


def beside_peer(
    table: TableEmbedder, model: OnnxEmbedder, peer: GPTCache, directory: Path, count: int, lookups: int
) -> tuple[list[dict[str, Any]], list[Check]]:
    """The same texts put, and the same asked, of both."""
    examples = set(example_texts())  # which the policy has looked at
    own = [text for text in table.texts if text not in examples]
    stored, asked = own[:count], own[count : count + lookups + _WARM_UP]
    entries = TableEmbedder(stored, table.embed(stored), table.fingerprint)
    with open_answers(directory / "beside", table.fingerprint, table.dimension) as answers:
        filled = Filled(answers, entries, table)
        ours = {
            "put": filled.fill(),
            "get": filled.find_again(table, judge_of(model), asked),
            "get with the embedding": filled.find(model, judge_of(model), asked),
        }
    said = peer.ask("speed", stored=stored, asked=asked[_WARM_UP:])
    theirs = {what: CallTimes(**times) for what, times in said.items()}
    rows, checks = list[dict[str, Any]](), list[Check]()
    for what, bar in {"put": 0.0, "get": 10.0, "get with the embedding": 2.5}.items():
        mine, others = ours[what].percentiles(), theirs[what].percentiles()
        for who, numbers in {"ours": mine, "GPTCache": others}.items():
            rows.append({"corpus": f"{count} entries, beside GPTCache", "what": what, "who": who, **numbers})
        if bar:
            checks.append(
                at_least(f"{what}: GPTCache's CPU time, of ours", others["cpu_p50_ms"] / mine["cpu_p50_ms"], bar)
            )
    return rows, checks


def _guards(table: TableEmbedder) -> Judge:
    """That has read nothing yet."""
    return GuardedJudge(CosineJudge(table.fingerprint))


def _entries(table: TableEmbedder, count: int) -> TableEmbedder:
    vectors, texts = near_copies(table.vectors, count), table.texts
    return TableEmbedder([_said(texts, row) for row in range(count)], vectors, table.fingerprint)


def _asked(table: TableEmbedder) -> list[TableEmbedder]:
    """Paraphrases of what is held, as far as vectors go: what is asked, and what was asked before."""
    rows = np.random.default_rng(1).permutation(len(table.texts))[: _LOOKUPS + _WARM_UP + _ASKED_BEFORE]
    return [_paraphrased(table, part) for part in np.split(rows, [_LOOKUPS + _WARM_UP])]


def _paraphrased(table: TableEmbedder, rows: NDArray[np.int64]) -> TableEmbedder:
    copies = near_copies(table.vectors[rows], 2 * len(rows), seed=2)[len(rows) :]
    return TableEmbedder([f"{table.texts[row]} by the way" for row in rows], copies, table.fingerprint)


def _said(texts: Sequence[str], row: int) -> str:
    """The text of this row, or, beyond the last, one of them in yet other words."""
    turn, place = divmod(row, len(texts))
    words = []
    while turn:
        turn, word = divmod(turn - 1, len(_POLITE))
        words.append(_POLITE[word])
    return " ".join([texts[place], *words])


def _restarted(directory: Path, table: TableEmbedder, asked: TableEmbedder) -> dict[str, float]:
    """In a process that has nothing of it yet."""
    np.save(directory / "asked.npy", asked.vectors[0])
    command = [sys.executable, "-m", "benchmarks.semantic_restart", str(directory), table.fingerprint]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    restarted: dict[str, float] = json.loads(done.stdout)
    return restarted


def _checks(count: int, ways: dict[str, CallTimes], recall: float, restarted: dict[str, float]) -> list[Check]:
    times = {what: ways[what].percentiles() for what in _LOOKED_UP}
    if count == 10**5:
        return [
            *(at_most(f"{what}, among 1e5, p50 ms of CPU", times[what]["cpu_p50_ms"], 0.35) for what in _LOOKED_UP),
            at_most("1e5 entries, seconds until the first answer after a restart", restarted["first_answer_s"], 1.0),
        ]
    if count == 10**6:
        return [
            *(at_most(f"{what}, among 1e6, p99 ms of CPU", times[what]["cpu_p99_ms"], 0.6) for what in _LOOKED_UP),
            at_least("recall of the nearest among 1e6", recall, 0.96),
        ]
    return []
