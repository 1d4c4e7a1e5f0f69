"""Short questions whose right answers are known, made up by a seed: what a small model may be shown examples for."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

_MONTHS = list(calendar.month_name)[1:]
_PEOPLE = ["Ana", "Ben", "Carla", "Dmitri", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jonas"]
_THINGS = ["phone", "movie", "hotel", "meal", "train", "book", "lamp", "jacket"]
_GOOD = ["great", "lovely", "wonderful", "excellent", "superb", "delightful"]
_BAD = ["awful", "terrible", "dreadful", "broken", "boring", "useless"]
_TOPICS = {
    "billing": ["I was charged twice.", "My invoice is wrong.", "Where do I pay?", "I want my money back."],
    "delivery": ["My parcel is late.", "Where is my package?", "It came to the wrong door.", "The courier never rang."],
    "account": ["I cannot log in.", "Change my password.", "Please delete my profile.", "My e-mail address changed."],
}
_ASIDES = ["", " Please help.", " I am quite upset.", " Thanks!", " This is the second time I ask."]


@dataclass(frozen=True)
class Question:
    task: str
    asked: str
    answer: str
    labels: tuple[str, ...] = ()
    """All answers there are, where that is few."""

    def right(self, said: str) -> bool:
        """It says the answer, among other words or not, and no other label."""
        others = [label for label in self.labels if label != self.answer]
        return _says(said, self.answer) and not any(_says(said, label) for label in others)


def _says(said: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", said, re.IGNORECASE) is not None


def _iso_date(chosen: Random) -> Question:
    year, month, day = chosen.randint(1950, 2030), chosen.randint(1, 12), chosen.randint(1, 28)
    form = chosen.choice(["Write {m} {d}, {y} as an ISO date.", "What is {d} {m} {y} in ISO format?"])
    asked = form.format(m=_MONTHS[month - 1], d=day, y=year)
    return Question("date to ISO", asked, f"{year}-{month:02}-{day:02}")


def _sum(chosen: Random) -> Question:
    one, other = chosen.randint(11, 99), chosen.randint(11, 99)
    form = chosen.choice(["What is {a} + {b}?", "Add {a} and {b}.", "How much is {a} plus {b}?"])
    return Question("sum", form.format(a=one, b=other), str(one + other))


def _order_number(chosen: Random) -> Question:
    number = f"{chosen.choice('ABCDEFGH')}{chosen.choice('JKLMNP')}-{chosen.randint(1000, 9999)}"
    form = chosen.choice(
        [
            "I am {p}, my order {n} has not arrived in {d} days.",
            "{p} here: the parcel {n} came damaged on day {d}.",
            "Please cancel {n}, I waited {d} days. Thanks, {p}",
        ]
    )
    message = form.format(p=chosen.choice(_PEOPLE), n=number, d=chosen.randint(2, 30))
    return Question("order number", f"Which order is this about? {message}", number)


def _mood(chosen: Random) -> Question:
    good = chosen.random() < 0.5
    form = chosen.choice(["The {x} was {w}.", "What a {w} {x}!", "My {x}: {w}. That is all I can say."])
    review = form.format(x=chosen.choice(_THINGS), w=chosen.choice(_GOOD if good else _BAD))
    return Question("mood", f"Is this review good or bad? {review}", "good" if good else "bad", ("good", "bad"))


def _topic(chosen: Random) -> Question:
    topic = chosen.choice(list(_TOPICS))
    asked = f"Which team takes this ticket? {chosen.choice(_TOPICS[topic])}{chosen.choice(_ASIDES)}"
    return Question("team", asked, topic, tuple(_TOPICS))


TASKS: dict[str, Callable[[Random], Question]] = {
    "date to ISO": _iso_date,
    "order number": _order_number,
    "mood": _mood,
    "team": _topic,
    "sum": _sum,
}


def questions(num_each: int, chosen: Random) -> list[Question]:
    """No two alike, all tasks in turn."""
    made: dict[str, Question] = {}
    for make in TASKS.values():
        before = len(made)
        while len(made) < before + num_each:
            question = make(chosen)
            made.setdefault(question.asked, question)
    by_task = [list(made.values())[start : start + num_each] for start in range(0, len(made), num_each)]
    return [question for turn in zip(*by_task, strict=True) for question in turn]


def wrong_answer(question: Question, chosen: Random) -> str:
    """As a model gets it wrong: another label, or other digits."""
    if question.labels:
        return chosen.choice([label for label in question.labels if label != question.answer])
    while True:
        answer = re.sub(r"\d", lambda digit: str(chosen.randint(0, 9)), question.answer)
        if answer != question.answer:
            return answer
