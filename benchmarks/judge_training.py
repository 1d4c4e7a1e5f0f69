"""Fits the judge's trees to pairs made of CLINC150 (CC BY 3.0), and writes their weights.

python -m benchmarks.judge_training --data ../shared/data --cache DIR needs scikit-learn, which nothing else here does.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge_made_pairs import Pair, Source, made
from semantic_cache.alignment import Alignment, align
from semantic_cache.guards import conflicts, read
from semantic_cache.looks import Looks
from semantic_cache.onnx_embedder import open_embedder
from semantic_cache.scoring import WEIGHTS

DIRECTION = {
    "cosine": 1,
    "worst": 1,
    "unmatched_more": -1,
    "unmatched_less": -1,
    "own_more": -1,
    "own_less": -1,
    "shared": 1,
    "crossed": -1,
    "asking": 1,
    "linking": 1,
}
"""What the score may do where a number grows; of the others, either."""
DEPTH, TREES, RATE, LEAST_PAIRS, SHRINKAGE = 3, 120, 0.08, 30, 5.0
KIND_WEIGHT = {"made": 1.0, "clinc": 0.6}
"""The same intent is not always the same answer."""
NEAREST = 60


def asked_alike(rng: random.Random, sources: Sequence[Source], looks: Looks, count: int) -> Iterator[Pair]:
    """Of real questions: the nearest of the same intent, one of it at random, and the nearest of another intent."""
    vectors = np.stack([looks.look(source.text).vector for source in sources])
    for place in rng.sample(range(len(sources)), count):
        source = sources[place]
        near = [sources[i] for i in np.argsort(-(vectors @ vectors[place]))[1:NEAREST]]
        near = [other for other in near if other.text != source.text]
        same = [other for other in near if other.intent == source.intent]
        for other in {other.text: other for other in [*same[:1], *rng.sample(same, min(1, len(same)))]}.values():
            yield Pair(source.text, other.text, True, "clinc")
        for other in [other for other in near if other.intent != source.intent][:1]:
            yield Pair(source.text, other.text, False, "clinc")


def measured(pairs: Sequence[Pair], looks: Looks) -> tuple[NDArray[np.float64], list[Pair]]:
    """The alignments, [pair, feature], of those pairs that guards let pass; and these."""
    rows, kept = [], []
    for pair in pairs:
        one, two = read(pair.asked), read(pair.stored)
        if not conflicts(one, two):
            rows.append(align(one, two, looks.look(one.text), looks.look(two.text)).numbers())
            kept.append(pair)
    return np.stack(rows), kept


def fit(numbers: NDArray[np.float64], pairs: Sequence[Pair]) -> dict[str, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    names = [field.name for field in fields(Alignment)]
    model = HistGradientBoostingClassifier(
        max_depth=DEPTH,
        max_iter=TREES,
        learning_rate=RATE,
        min_samples_leaf=LEAST_PAIRS,
        l2_regularization=SHRINKAGE,
        monotonic_cst=[DIRECTION.get(name, 0) for name in names],
        random_state=0,
    )
    model.fit(numbers, [pair.same for pair in pairs], sample_weight=[KIND_WEIGHT[pair.kind] for pair in pairs])
    complete = [_complete(predictor[0].nodes) for predictor in model._predictors]
    return {
        "features": names,
        "base": float(model._baseline_prediction[0, 0]),
        "feature": [tree[0] for tree in complete],
        "threshold": [tree[1] for tree in complete],
        "leaf": [tree[2] for tree in complete],
    }


def _complete(nodes: Any) -> tuple[list[int], list[float], list[float]]:
    """A tree of DEPTH with all its leaves: one that ends early goes on with the same value on both sides."""
    feature, threshold, leaf = [], [], []
    level = [0]
    for _ in range(DEPTH):
        below = []
        for node in level:
            ended = bool(nodes[node]["is_leaf"])
            feature.append(0 if ended else int(nodes[node]["feature_idx"]))
            threshold.append(0.0 if ended else round(float(nodes[node]["num_threshold"]), 5))
            below += [node, node] if ended else [int(nodes[node]["left"]), int(nodes[node]["right"])]
        level = below
    leaf = [round(float(nodes[node]["value"]), 5) for node in level]
    return feature, threshold, leaf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="of the embedder's graph")
    parser.add_argument("--made", type=int, default=700, help="questions to make pairs of")
    parser.add_argument("--asked", type=int, default=700, help="real questions to find pairs for")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    looks = Looks(open_embedder(arguments.cache).look, capacity=1 << 16)
    folder = arguments.data / "semantic"
    queries = [json.loads(line) for line in (folder / "category_queries.jsonl").open()]
    sources = [Source(query["text"], query["category"], query["intent"]) for query in queries]
    pairs = [*made(rng, sources, arguments.made), *asked_alike(rng, sources, looks, arguments.asked)]
    numbers, kept = measured(pairs, looks)
    arguments.out.write_text(json.dumps(fit(numbers, kept), separators=(",", ":")) + "\n")
    print(f"{len(kept)} of {len(pairs)} pairs pass the guards; {arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
