"""Examples: which stored answers to show a small model that is asked something alike, and how they are shown.

In-context reuse as in IC-Cache (Yu et al., arXiv 2501.12689): first what is relevant, then what is useful. A near
miss is not answered from what is stored; it is computed, by a model that is shown it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kvstore.errors import InvalidRequest
from semantic_cache.example import Example
from semantic_cache.query import normalized
from semantic_cache.request import Request
from semantic_cache.usefulness import Usefulness

Message = Mapping[str, Any]
"""One of a chat, as the chat-completions API has it."""

_TEMPLATE_MARKS = re.compile(r"<\|.*?\|>|</?s>|\[/?INST\]|<</?SYS>>|<(start|end)_of_turn>", re.DOTALL)
_FIRST_ROLES = ("system", "developer")


@dataclass(frozen=True)
class Limits:
    """What examples may cost: all that is shown is prefilled."""

    relevant_cosine: float = 0.6
    """The least of what is looked at."""
    relevant: int = 8
    """At most so many are, the nearest."""
    examples: int = 3
    """At most so many are shown."""
    chars: int = 4000
    """Of what is shown, asked and answered together."""
    gain_per_1000_chars: float = 0.02
    """The quality, from 0 to 1, that as much prefill has to bring."""

    def __post_init__(self) -> None:
        if not 0 <= self.relevant_cosine <= 1 or min(self.relevant, self.examples, self.chars) < 0:
            raise InvalidRequest(f"no limits: {self}; a cosine is from 0 to 1, counts are not below 0")
        if not self.gain_per_1000_chars >= 0:
            raise InvalidRequest(f"gain_per_1000_chars is {self.gain_per_1000_chars}; it is not below 0")


@dataclass(frozen=True)
class Selection:
    """What to show for one request."""

    examples: tuple[Example, ...]
    """The most useful last, next to the question."""
    without: float
    """Quality to expect of the small model alone, from 0 to 1."""
    expected: float
    """The same with the examples shown."""

    @property
    def gain(self) -> float:
        return self.expected - self.without


class Examples:
    """Selects in two stages: the nearest of those that may be seen, then those that pay for their prefill.

    Reads nothing and keeps nothing but what `usefulness` learned. Not safe to use from several threads.
    """

    def __init__(self, usefulness: Usefulness, limits: Limits | None = None) -> None:
        self.usefulness, self._limits = usefulness, limits or Limits()

    def select(self, partition: bytes, request: Request, candidates: Sequence[Example]) -> Selection:
        """Of the candidates, none of another partition, none twice, and all within the limits; perhaps none at all."""
        without = expected = self.usefulness.expected(request, [])
        chosen: list[Example] = []
        room = self._limits.chars
        relevant = self._relevant(partition, candidates)
        for example in sorted(relevant, key=lambda example: -self._surplus(request, [], example)):
            fits = len(chosen) < self._limits.examples and example.num_chars <= room
            if fits and self._surplus(request, chosen, example) > expected:
                chosen.append(example)
                room -= example.num_chars
                expected = self.usefulness.expected(request, chosen)
        return Selection(tuple(reversed(chosen)), without, expected)

    def _relevant(self, partition: bytes, candidates: Sequence[Example]) -> list[Example]:
        """The first stage. Of several answers to the same words the nearest, and of those the newest, is seen."""
        seen: dict[str, Example] = {}
        for example in sorted(candidates, key=lambda example: (-example.cosine, example.age_s)):
            near = example.cosine >= self._limits.relevant_cosine
            if near and example.partition == partition and self._showable(example):
                seen.setdefault(normalized(example.asked), example)
        return list(seen.values())[: self._limits.relevant]

    def _showable(self, example: Example) -> bool:
        """Texts with the marks by which templates end a turn could speak in another's name."""
        texts = example.asked, example.answered
        return example.num_chars <= self._limits.chars and all(
            text.strip() and not _TEMPLATE_MARKS.search(text) for text in texts
        )

    def _surplus(self, request: Request, chosen: Sequence[Example], more: Example) -> float:
        """Quality to expect with one more example, less what its prefill has to bring."""
        price = self._limits.gain_per_1000_chars * more.num_chars / 1000
        return self.usefulness.expected(request, [*chosen, more]) - price


def with_examples(messages: Sequence[Message], examples: Sequence[Example]) -> list[Message]:
    """The messages with the examples as earlier turns, behind the system prompt and before the conversation.

    Each says that it is an example, and is a turn of the user and one of the assistant, so that what somebody asked
    once has no more authority than what he asks now. The messages given are not changed.
    """
    messages = list(messages)
    start = next((i for i, message in enumerate(messages) if message.get("role") not in _FIRST_ROLES), len(messages))
    turns: list[Message] = []
    for number, example in enumerate(examples, start=1):
        asked = f"[Example {number} of {len(examples)}]\n{example.asked}"
        turns.append({"role": "user", "content": asked})
        turns.append({"role": "assistant", "content": example.answered})
    return [*messages[:start], *turns, *messages[start:]]
