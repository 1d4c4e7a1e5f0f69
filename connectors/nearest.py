"""What somebody may have meant who named something that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def nearest_of(name: str, known: Collection[str]) -> str:
    """The end of a message: the name that is most like it, or all of them."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; there are: {', '.join(sorted(known))}"
