"""Watch: notices when what was safe goes wrong, from the labels of what would be served."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

_WORSE = 5.0  # times the share that is allowed: the change that is looked for
_ALARM = 3.0  # wrong labels' worth of suspicion: meanwhile nothing is served, so there is time
_MOST = 0.5  # a share that is looked at as if it were no greater


@dataclass
class Watch:
    """Page's cumulative sum (Biometrika 1954): for each label, how much likelier it is after the change than before.

    It never falls below 0, so a long good time does not hide what begins. The first wrong label makes it
    `suspicious`, which right ones soon undo, about 0.4 / share of them; several soon after it are an alarm.
    """

    suspicion: float = 0.0

    @property
    def suspicious(self) -> bool:
        return self.suspicion > 0

    def observe(self, right: bool, share: float) -> bool:
        """Whether it is an alarm: what was learned before is no longer so. `share` of wrong labels is allowed."""
        before = min(share, _MOST)
        after = min(_WORSE * before, (1 + before) / 2)
        if right:
            self.suspicion = max(self.suspicion + log((1 - after) / (1 - before)), 0.0)
        else:
            self.suspicion += log(after / before)
        return self.suspicion > _ALARM * log(after / before)
