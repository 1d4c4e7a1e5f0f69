"""What the wrong answers found among labels prove of how many there are, whenever one looks."""

from __future__ import annotations

from math import inf

_LEAN = 0.3  # of the mixture: the smaller, the more is made of finding nothing wrong, and the less of finding some
_NEGLIGIBLE = 1e-12
_BISECTIONS = 50


def evidence(found: float, expected: float, enough: float = inf) -> float:
    """An e-value against "of these labels, `expected` or more had to be wrong", where `found` were.

    Label i is wrong with a chance p_i that may depend on all that came before, and counts with a weight v_i in
    [0, 1] known beforehand: found is the sum of v_i y_i, the claim that the sum of v_i p_i is at least `expected`.
    For t in (0, 1): E t^(v y) <= exp(-(1 - t) v p), as 1 - t^v >= v (1 - t). So t^found exp((1 - t) sum v p) is a
    supermartingale of mean 1, and so is its mixture over t with the density _LEAN t^(_LEAN - 1), which is the series
    below. It ever reaches 1 / d with a chance of at most d (Ville). See Howard, Ramdas, McAuliffe and Sekhon,
    "Time-uniform, nonparametric, nonasymptotic confidence sequences", Ann. Statist. 2021, section 3.

    Stops adding up when `enough` is reached.
    """
    denominator = found + _LEAN
    term = total = _LEAN / denominator
    while total < enough and term > total * _NEGLIGIBLE:
        denominator += 1
        term *= expected / denominator
        total += term
    return total


def proves_less(found: float, labels: float, share: float, doubt: float) -> bool:
    """Whether less than `share` of the labels had to be wrong; mistaken, however often one looks, with `doubt`."""
    return found < share * labels and evidence(found, share * labels, 1 / doubt) >= 1 / doubt


def share_at_most(found: float, labels: float, doubt: float) -> float:
    """The least share for which `proves_less`; 1 where there is nothing to go by."""
    low, high = found / labels if labels else 1.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if proves_less(found, labels, middle, doubt) else (middle, high)
    return high
