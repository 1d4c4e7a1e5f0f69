"""The gate: how much of what is reused must be recomputed for answers to stay close enough, and when to stop.

Reuse behind other text than it was computed behind is never exact. How far off it is depends on the model, on the
codec, and on what is recomputed, so it is measured, on prompts with known answers, before a model is served so: the
smallest share that keeps the mean KL within a bound is what blending then takes. While it is served, a sample of
blended answers is measured in the same way, and blending ends when they are beyond the bound.
"""

from __future__ import annotations

import json
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kvstore import InvalidRequest

DEFAULT_BOUND = 0.05
_LEAST_SAMPLES, _MOST_SAMPLES = 5, 50


@dataclass(frozen=True)
class Measured:
    """What blending does to answers, on average over some prompts, when this share is recomputed."""

    share: float
    kl: float
    """Nats, of the next-token distributions along the answer, from those behind the prompt computed in full."""
    top1: float
    """How often the most likely token is the same."""
    same_answer: float
    """How often the greedy answer is the same, token for token."""
    f1: float
    """Of the answer's words, against the right ones."""
    sooner: float
    """First token, of computing the prompt in full."""

    @property
    def pays(self) -> bool:
        """An engine with a store is never slower than without."""
        return self.sooner > 1


@dataclass(frozen=True)
class Verdict:
    """The gate's, for one model, codec and way of blending; kept beside the model's profile."""

    spec: str
    """Fingerprint."""
    codec: str
    """Identity."""
    device: str
    """`cpu` or `cuda`: where it was measured how much sooner blending is."""
    selector: str
    behind: tuple[int, ...]
    bound: float
    prompts: int
    full_f1: float
    measured: tuple[Measured, ...]

    @property
    def passed(self) -> Measured | None:
        """The smallest share that is within the bound, as are all larger ones; None: the model must not be blended."""
        within = None
        for point in sorted(self.measured, key=lambda point: -point.share):
            if not point.kl <= self.bound:
                break
            within = point
        return within

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.write_text(json.dumps(asdict(self), indent=2) + "\n")
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Verdict:
        """Raises InvalidRequest when the file holds none, OSError when it cannot be read."""
        try:
            fields = json.loads(path.read_text())
            measured = tuple(Measured(**point) for point in fields.pop("measured"))
            return cls(measured=measured, behind=tuple(fields.pop("behind")), **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidRequest(f"{path} holds no gate's verdict: {error!r}; `kvstore gate` makes one") from error


class Watch:
    """Whether answers are still within the bound, by those sampled lately. Not safe in threads."""

    def __init__(self, bound: float) -> None:
        self._bound, self._lately = bound, deque[float](maxlen=_MOST_SAMPLES)

    def saw(self, kl: float) -> None:
        """A blended prompt was computed in full too."""
        self._lately.append(kl)

    @property
    def within(self) -> bool:
        """True until there are enough samples to say otherwise. A KL that is no number is beyond any bound."""
        if len(self._lately) < _LEAST_SAMPLES:
            return True
        return statistics.fmean(self._lately) <= self._bound


def words_f1(answer: str, right: Sequence[str]) -> float:
    """The best F1 of an answer's words against any of the right ones, case and punctuation aside (SQuAD's)."""
    return max((_f1(_words(answer), _words(text)) for text in right), default=0.0)


def _words(text: str) -> list[str]:
    kept = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    return [word for word in kept.split() if word not in ("a", "an", "the")]


def _f1(given: list[str], right: list[str]) -> float:
    shared = sum(min(given.count(word), right.count(word)) for word in set(given))
    return 2 * shared / (len(given) + len(right)) if shared else float(given == right)
