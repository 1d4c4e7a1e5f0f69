"""Does the judge tell pairs that share an answer from those that do not? Beside the cosine, on data not fitted to.

python -m benchmarks.judge_pairs --data ../shared/data --cache DIR [--json out.json]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semantic_cache.judge import Judge
from semantic_cache.learned_judge import THRESHOLD, open_judge
from semantic_cache.looks import Looks
from semantic_cache.onnx_embedder import open_embedder

SEED = 17
EDITS = 2000


@dataclass(frozen=True)
class Judged:
    kind: str
    same: bool
    score: float
    cosine: float
    conflicts: tuple[str, ...]
    cpu_s: float


@dataclass(frozen=True)
class Table:
    pairs: int
    served: float
    """Share, at THRESHOLD."""
    vetoed: float
    """Share in which guards found a conflict."""


def judged(judge: Judge, looks: Looks, rows: Sequence[dict[str, Any]]) -> Iterator[Judged]:
    for row in rows:
        cosine = float(looks.look(row["a"]).vector @ looks.look(row["b"]).vector)
        start = time.thread_time()
        judgement = judge.judge(row["a"], row["b"], cosine)
        spent = time.thread_time() - start
        yield Judged(row.get("kind", "all"), row["same"], judgement.score, cosine, judgement.conflicts, spent)


def by_kind(found: Sequence[Judged]) -> dict[str, Table]:
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in found:
        for name in ("good" if one.same else "traps", f"{'good' if one.same else 'trap'}: {one.kind}"):
            groups[name].append(one)
    return {name: _table(group) for name, group in sorted(groups.items())}


def edited(rng: random.Random, texts: Sequence[str], count: int) -> Iterator[dict[str, Any]]:
    """Questions of which a number, or a word with a capital inside the sentence, was exchanged for another one."""
    names = sorted({match.group() for text in texts for match in re.finditer(r"(?<=[a-z] )[A-Z][a-z]{3,}\b", text)})
    shuffled = rng.sample(texts, len(texts))
    for text in shuffled:
        if count == 0:
            return
        changed = _another_number(rng, text) or _another_name(rng, text, names)
        if changed is not None:
            count -= 1
            yield {"a": text, "b": changed[1], "same": False, "kind": changed[0]}


def ranking(found: Sequence[Judged], value: Callable[[Judged], float]) -> tuple[float, float]:
    """Area under the ROC curve, and the share of good pairs above the score that one in a hundred others reaches."""
    good = np.array([value(one) for one in found if one.same])
    other = np.sort([value(one) for one in found if not one.same])
    below = np.searchsorted(other, good, "left") + np.searchsorted(other, good, "right")
    return float(below.mean() / (2 * len(other))), float((good > np.quantile(other, 0.99)).mean())


def _table(group: Sequence[Judged]) -> Table:
    served = [one.score >= THRESHOLD and not one.conflicts for one in group]
    return Table(len(group), float(np.mean(served)), float(np.mean([bool(one.conflicts) for one in group])))


def _another_number(rng: random.Random, text: str) -> tuple[str, str] | None:
    match = re.search(r"\b\d{1,6}\b", text)
    if match is None:
        return None
    other = str(max(int(match.group()) + rng.choice((-2, -1, 1, 2, 10)), 0))
    return ("number", text[: match.start()] + other + text[match.end() :]) if other != match.group() else None


def _another_name(rng: random.Random, text: str, names: Sequence[str]) -> tuple[str, str] | None:
    match = re.search(r"(?<=[a-z] )[A-Z][a-z]{3,}\b", text)
    if match is None:
        return None
    other = rng.choice(names)
    return ("name", text[: match.start()] + other + text[match.end() :]) if other not in text else None


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open()]


def _print(title: str, tables: dict[str, Table]) -> None:
    print(f"\n{title}\n{'':64} pairs  served  vetoed")
    for name, table in tables.items():
        print(f"{name:64} {table.pairs:5d}  {table.served:6.3f}  {table.vetoed:6.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="of the embedder's graph")
    parser.add_argument("--questions", type=int, default=4000, help="pairs of QQP to judge")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    folder, rng = arguments.data / "semantic", random.Random(SEED)
    embedder = open_embedder(arguments.cache)
    looks = Looks(embedder.look)
    judge = open_judge(looks.look, embedder.fingerprint)
    traps = _rows(folder / "trap_pairs.jsonl")
    rng.shuffle(traps)
    third = len(traps) // 3
    questions = rng.sample(_rows(folder / "qqp_pairs.jsonl"), arguments.questions)
    sets = {
        "trap pairs, a third that was looked at": traps[:third],
        "trap pairs, the other two thirds": traps[third:],
        "one word edited": list(edited(rng, [row["a"] for row in questions], EDITS)),
        "CheckList": rng.sample(_rows(folder / "checklist_pairs.jsonl"), min(1000, arguments.questions)),
        "Quora questions": questions,
    }
    results: dict[str, Any] = {}
    for title, rows in sets.items():
        found = list(judged(judge, looks, rows))
        tables = by_kind(found)
        _print(title, tables)
        results[title] = {name: asdict(table) for name, table in tables.items()}
        if any(one.same for one in found) and any(not one.same for one in found):
            results[title]["ranking"] = {
                "judge": ranking(found, lambda one: one.score),
                "cosine": ranking(found, lambda one: one.cosine),
            }
            print("area under the curve, recall at 1 % wrong:", results[title]["ranking"])
        results[title]["cpu_ms"] = float(np.median([one.cpu_s for one in found]) * 1000)
        print(f"CPU time of a judgement, texts looked at before: {results[title]['cpu_ms']:.3f} ms (median)")
    if arguments.json:
        arguments.json.write_text(json.dumps({"judge": judge.fingerprint, "cut": THRESHOLD, **results}, indent=1))


if __name__ == "__main__":
    main()
