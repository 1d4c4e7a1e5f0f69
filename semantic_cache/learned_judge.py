"""LearnedJudge: guards rule out, and what they let pass is scored by how well its words have partners."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from semantic_cache.alignment import Look, align
from semantic_cache.guards import Reading, conflicts, guards_fingerprint, is_edit, read
from semantic_cache.judge import Judge, Judgement
from semantic_cache.query import normalized
from semantic_cache.scoring import Trees, load_trees

READINGS = 4096
"""Texts whose words are remembered: some 15 MB for short questions."""
THRESHOLD = 0.45
"""From which on answers may be served while nothing is known of a category; measured: `benchmarks/judge_pairs.py`."""
VERSION = 1
"""Grows with every change of what the numbers of an alignment mean."""


class LearnedJudge(Judge):
    """Knows English; of any other text but the same, it says that it cannot tell, which is a conflict."""

    vouches = True

    def __init__(self, look: Callable[[str], Look], embedder: str, trees: Trees) -> None:
        """`look` gives what the embedder of that fingerprint sees of a text (see `Looks`, which remembers it)."""
        self._look, self._trees = look, trees
        self._read = lru_cache(READINGS)(read)
        self.fingerprint = f"learned {VERSION} {trees.fingerprint}, {guards_fingerprint()}, {embedder}"

    def judge(self, asked: str, stored: str, cosine: float) -> Judgement:
        """The cosine is not used: an index may round it. Raises as the embedder, where guards find nothing."""
        if normalized(asked) == normalized(stored):
            return Judgement(1.0)
        mine, theirs = self._read(asked), self._read(stored)
        if (ruled_out := _ruled_out(mine, theirs)) is not None:
            return ruled_out
        alignment = align(mine, theirs, self._look(mine.text), self._look(theirs.text))
        return Judgement(self._trees.score(alignment.numbers()) * alignment.cosine)


class GuardedJudge(Judge):
    """For embedders that do not see words: the guards, and behind them another judge's score."""

    def __init__(self, inner: Judge) -> None:
        self._inner = inner
        self._read = lru_cache(READINGS)(read)
        self.fingerprint = f"{guards_fingerprint()}, {inner.fingerprint}"

    def judge(self, asked: str, stored: str, cosine: float) -> Judgement:
        if normalized(asked) == normalized(stored):
            return Judgement(1.0)
        ruled_out = _ruled_out(self._read(asked), self._read(stored))
        return self._inner.judge(asked, stored, cosine) if ruled_out is None else ruled_out


def _ruled_out(asked: Reading, stored: Reading) -> Judgement | None:
    """What the guards say; None where they find nothing."""
    found = conflicts(asked, stored)
    return Judgement(0.0, found, is_edit(asked, stored)) if found else None


def open_judge(look: Callable[[str], Look], embedder: str) -> LearnedJudge:
    """With the weights that this package brings. Raises CorruptFrame or OSError where they are not whole."""
    return LearnedJudge(look, embedder, load_trees())
