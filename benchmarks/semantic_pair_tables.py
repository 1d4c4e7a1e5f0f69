"""What pairs of questions say: ours as it comes, thresholds of the cosine, and GPTCache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.report import Check, at_least, at_most
from benchmarks.semantic_ours import CUT, decisions, learning, shipped_policy, trusting
from benchmarks.semantic_pairs import RULED_OUT, Pair, auc, by_kind, recalls, told
from benchmarks.semantic_peer import THRESHOLDS, GPTCache
from benchmarks.semantic_vectors import TableEmbedder
from semantic_cache.judge import Judge

OURS = "ours"
_COSINES = (0.80, 0.90, 0.95)


@dataclass(frozen=True)
class PairSets:
    traps: list[Pair]
    checklist: list[Pair]
    duplicates: list[Pair]
    edits: list[Pair]
    conversations: list[Pair]

    def items(self) -> Mapping[str, list[Pair]]:
        return vars(self)

    def texts(self) -> list[str]:
        return [text for pairs in self.items().values() for pair in pairs for text in (pair.asked, pair.stored)]


def pair_tables(
    sets: PairSets, embedder: TableEmbedder, judge: Judge, peer: GPTCache | None
) -> tuple[list[dict[str, Any]], list[Check]]:
    """A table for each set, one of the ROC, and one of each set's kinds."""
    rows, rates, kinds = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    served = {}
    for name, pairs in sets.items().items():
        ways = _served(pairs, embedder, judge, peer)
        served[name] = ways[OURS]
        rows += [{"corpus": f"pairs, {name}", "way": way, **asdict(told(pairs, hits))} for way, hits in ways.items()]
        rates += _roc(name, pairs, embedder, judge)
        shown = {way: hits for way, hits in ways.items() if way in (OURS, "cosine 0.9", _peer_name(THRESHOLDS[0]))}
        kinds += [{"corpus": f"share served, {name}", **row} for row in by_kind(pairs, shown)]
    return rows + rates + kinds, _checks(sets, served)


def _served(
    pairs: Sequence[Pair], embedder: TableEmbedder, judge: Judge, peer: GPTCache | None
) -> dict[str, list[bool]]:
    cosines = [embedder.cosine(pair.asked, pair.stored) for pair in pairs]
    policy, trusting_all = shipped_policy(embedder), shipped_policy(embedder, trusted=CUT)
    makes = {
        OURS: (policy, learning(judge, embedder, policy)),
        f"ours, once {CUT} is proved in every category": (trusting_all, trusting()),
    }
    ways = {way: [each.hit for each in decisions(pairs, embedder, judge, *made)] for way, made in makes.items()}
    ways |= {f"cosine {threshold}": [cosine >= threshold for cosine in cosines] for threshold in _COSINES}
    if peer is not None:
        texts = [(pair.asked, pair.stored) for pair in pairs]
        for threshold in THRESHOLDS:
            ways[_peer_name(threshold)] = peer.ask("decide", pairs=texts, threshold=threshold)
    return ways


def _peer_name(threshold: float) -> str:
    return f"GPTCache {threshold}{', default' if threshold == THRESHOLDS[0] else ''}"


def _roc(name: str, pairs: Sequence[Pair], embedder: TableEmbedder, judge: Judge) -> list[dict[str, Any]]:
    """Of scores alone: recall by the share of false hits."""
    same = np.array([pair.same for pair in pairs], bool)
    if same.all() or not same.any() or name == "conversations":  # there words say nothing: it is all in the context
        return []
    cosines = [embedder.cosine(pair.asked, pair.stored) for pair in pairs]
    judged = [judge.judge(pair.asked, pair.stored, cosine) for pair, cosine in zip(pairs, cosines, strict=True)]
    scores = {"cosine": cosines, "judge": [RULED_OUT if each.conflicts else each.score for each in judged]}
    return [
        {
            "corpus": "recall by the share of false hits",
            "pairs": name,
            "score": score,
            "AUC": auc(same, np.array(values)),
            **recalls(same, np.array(values)),
        }
        for score, values in scores.items()
    ]


def _checks(sets: PairSets, served: Mapping[str, Sequence[bool]]) -> list[Check]:
    traps, edits = told(sets.traps, served["traps"]), told(sets.edits, served["edits"])
    conversations = told(sets.conversations, served["conversations"])
    return [
        at_most("traps served", traps.false_hits, 0.05, 0.03),
        at_least("good pairs of the traps served", traps.recall, 0.45, 0.55),
        at_most("one-word edits served", edits.false_hits, 0.02),
        at_most("conversations served wrong", conversations.false_hits, 0.0),
    ]
