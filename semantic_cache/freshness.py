"""Freshness: queries whose answer from before is of no use, told by their words alone.

English, with the commonest words of some other languages. Says too much rather than too little: what is taken for
such a query is computed, which is never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from semantic_cache.category import Rule
from semantic_cache.folded import folded
from semantic_cache.personal import personal_data

MOST_CHARS = 1 << 18


@dataclass(frozen=True)
class Barred:
    """By which rule, and the words that it is about; of personal data what kind it is, never the text itself."""

    rule: Rule
    words: str


def barred(plain: str) -> tuple[Barred, ...]:
    """By every rule that takes a query from other categories, the strictest first; none for most.

    `plain` is the text `folded`. In time linear in its length, whatever it is made of; a very long one counts as
    personal, so that nobody keeps us reading.
    """
    if len(plain) > MOST_CHARS:
        return (Barred(Rule.PERSONAL, f"longer than the {MOST_CHARS} characters that are looked through"),)
    sentences = _SENTENCE.findall(plain)
    demanded = "".join(each for each in sentences if not _QUESTION.match(each))
    asked = "".join(each for each in sentences if not _TOLD.match(each))
    found = (
        (Rule.PERSONAL, personal_data(plain)),
        (Rule.ACTIONS, _first(demanded, _ACTION)),
        (Rule.CURRENT, _first(asked, _CURRENT, _CURRENT_ASKED, _CURRENT_UNSPACED)),
    )
    return tuple(Barred(rule, words) for rule, words in found if words is not None)


def _first(plain: str, *patterns: re.Pattern[str]) -> str | None:
    found = next(filter(None, (pattern.search(plain) for pattern in patterns)), None)
    return found["words"] if found else None


def _any(parts: Sequence[str]) -> str:
    return "|".join(parts)


_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?\n]+ ?|$)")
_QUESTION = re.compile(
    r"(?:how|why(?! (?:not|don't))|what|when|where|which|who|is|are|was|does|do|did|should|(?:can|could|may|must) i)\b"
)
"""Asks about something, and does not have it done."""
_TOLD = re.compile(
    r"(?:(?:hi|hello|hey|dear \w+|so|and|but|well|ok|okay|doctor),? ){0,3}"
    r"(?:(?:i|we|he|she|they)\b|from now on\b|(?:my|our|his|her|their) (?=[^?]*\b(?:is|was|are|were|has|have|had|did"
    r"|didn't|got|\w+ed)\b))"
    r"(?! (?:just |really )?(?:want|need|wish|wonder|would like|wanna|have to know"
    r"|am (?:wondering|asking|curious|looking))\b)"
    r"(?!'d like\b)[^?]*$"
)
"""What somebody tells of themselves or of others: when that was does not make the answer one of today."""

_SPANS = "week|weekend|month|year|season|quarter"
_NOW = (
    r"today(?:'s)?", r"tonight(?:'s)?", r"tomorrow(?:'s)?", "right now", r"(?<!from )now(?= ?[?!]| ?\.?$|\n)",
    "nowadays", "currently", "presently", "at the moment", "at present", "these days", "up[- ]to[- ]date", "latest",
    "newest", "most recent", "upcoming", "breaking news", rf"next (?:{_SPANS})", "so far this",
)  # fmt: skip
_LATELY = (
    rf"yesterday|recent|recently|last (?:night|{_SPANS})|this (?:morning|afternoon|evening|{_SPANS})|now"
    r"|(?<!ing )(?<!direct )(?<!electric )(?<!ocean )current (?!accounts?\b|flow|density|source|transformer|divider)\w+"
)
"""Asked about when a question begins so; in what somebody tells of themselves they say little."""
_ASKED_LATELY = (
    r"(?:what|who|which|where|did|has|have|was|were|any|tell me|show me|list|give me|is|are|how)\b[^.!?\n]{0,80}"
    rf"\b(?:{_LATELY})"
)
_SAY = (
    r"(?:what(?:'s| is| are| was| were)?|tell me|show(?: me)?|give me|check|find(?: me)?|compare|current|list|get me)\b"
)
_RATES = "(?:exchange|interest|mortgage|conversion) rates?"
_TOPICS = (
    "weather", "forecasts?", r"temperature (?:outside|in|of)", "is it (?:raining|snowing|sunny|windy|cold|hot|warm)",
    "(?:will|going to|gonna) (?:rain|snow)",
    r"(?:stock|share|gas|oil|gold|ticket|house|bitcoin|crypto) (?:price|market)s?",
    rf"{_SAY}[^.!?\n]{{0,40}}prices?", r"(?:^|\n)prices?",
    r"how much (?:is|are|does|do|would|will|did)\b[^\n]{0,60}\b(?:costs?|worth|charge|sell for|go for)",
    rf"{_SAY}[^.!?\n]{{0,40}}{_RATES}(?! (?:do|does|are|is|you|we|\w+ed)\b)",
    rf"how (?:is|are|high|low|good|bad)\b(?: \w+){{0,4}} {_RATES}(?! (?:\w+ )?(?:\w+ed|set|made|found)\b)",
    "news(?! (?:article|agenc|anchor|channel|feed|data))", "headlines", "scores? of", "who won",
    "traffic(?! (?:conviction|light|sign|ticket|law|rule|fine|violation|police|school|cone|accident))",
    "who(?:'s| is) (?:winning|leading|playing)", "nasdaq", "dow jones", "s&p 500",
    r"who(?:'s| is) the (?:president|prime minister|ceo|king|queen|pope|mayor|governor|chancellor|champion)",
    "what time", r"(?:what(?:'s| is)|tell me) the (?:time|date|day)", "what day", r"(?:flight|order|delivery) status",
    "status of", "still open", "open (?:until|till|late)", "opening hours", "in stock", "sold out",
    r"(?:what(?:'s| is| are)|how (?:much|many)|show(?: me)?|check|tell me|read(?: me)?|list|is|are) (?:\w+ ){0,4}my "
    r"(?:\w+ ){0,2}(?:balance|schedule|calendar|agenda|appointments?|meetings?|inbox|credit score|to-?do list"
    r"|shopping list|reminders?|alarms?|location)",
    r"how (?:much|many) (?:\w+ ){0,4}do i have", "where am i",
)  # fmt: skip
_ELSEWHERE = (
    "heute", "jetzt", "aktuell(?:e|en|er|es)?", "gestern", "morgen", "wetter", "nachrichten",
    "aujourd'hui", "maintenant", "actuellement", "demain", "hier soir", "meteo", "actualites",
    "hoy", "ahora", "actualmente", "manana", "ayer", "noticias", "oggi", "adesso", "domani", "ieri", "notizie",
    "hoje", "agora", "amanha", "ontem", "vandaag", "сегодня", "сейчас", "завтра", "вчера", "погода", "новости",
)  # fmt: skip
_UNSPACED = (
    "今天",
    "今日",
    "现在",
    "現在",
    "明天",
    "昨天",
    "最新",
    "天气",
    "天気",
    "新闻",
    "ニュース",
    "오늘",
    "지금",
    "내일",
    "날씨",
)
_CURRENT = re.compile(rf"\b(?P<words>{_any([*_NOW, *_TOPICS, *map(folded, _ELSEWHERE)])})(?!\w)")
_CURRENT_ASKED = re.compile(rf"(?:^|[.!?] ?|\n)(?P<words>{_ASKED_LATELY})(?!\w)")
_CURRENT_UNSPACED = re.compile(f"(?P<words>{_any([folded(word) for word in _UNSPACED])})")

_LEADS = (
    "please", "pls", "kindly", "hey", "hi", "hello", "ok", "okay", "so", "just", "now", "then", "and", "also",
    "go ahead and",
    "can you", "could you", "would you", "will you", "can u", "help me", "let's", "lets", "i want to", "i want you to",
    "i need to", "i need you to", "i'd like to", "i'd like you to", "i would like to", "i would like you to",
    "i wish to",
)  # fmt: skip
_DOING = (
    "send|cancel|book|order(?! the)|reorder|buy|purchase|pay|transfer|schedule|reschedule|reserve|e-?mail|message"
    "|deploy|forward|refund|withdraw|deposit|rsvp|redeem|unsubscribe"
)
_DOING_TO_MINE = (
    "delete|remove|erase|move|submit|text|call|post|publish|upload|share|add|update|change|block|freeze|lock|unlock|reset"
    "|activate|deactivate|disable|enable|set|start|stop|pause|play|create|make|close|open|confirm|accept|decline|approve"
    "|reject|report|file|invite|swap|return|print|save|connect|sync|track|put"
)
_MINE = (
    r"(?:my|our|me|him|her|them|it|(?:(?:an?|the|this|that) )?(?:\w+ )?(?:alarm|timer|reminder|meeting|appointment"
    "|event|e-?mail|invitation|payment|reservation|booking|ticket|order|song|music|playlist|account|subscription|thermostat|lights?))"
)
_ANY_OBJECT = (
    r"(?:an?|the|my|our|this|that|these|those|all|every|some|it|him|her|them|me|us|\$?\d+|one|two|three|another)"
)
_ALONE = (
    r"remind me", r"wake me", r"notify me", r"alert me", r"sign me up", r"subscribe me", r"register me",
    r"turn (?:on|off|up|down)", r"switch (?:on|off)", "log me (?:in|out|off)", "call an? (?:cab|taxi|uber)",
    "get me an? (?:cab|taxi|uber|lyft|ride|ticket|table|room|appointment)", "top up", "roll over",
    "cancel", "unsubscribe",
)  # fmt: skip
_ACTION = re.compile(
    rf"(?:^|[.!?;:,] ?|\n)(?:(?:{_any(_LEADS)})\b,? ){{0,5}}(?P<words>(?:{_any(_ALONE)}"
    rf"|(?:{_DOING}) (?:\w+ )?{_ANY_OBJECT}|(?:{_DOING_TO_MINE}) (?:\w+ )?{_MINE})(?![\w-]))"
)
