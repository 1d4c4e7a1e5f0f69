"""Tables of English number words and of units, and what they are worth."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from semantic_cache.guards.word_lists import listed

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
ONES = {word: value for value, word in enumerate(f"{_ONES} eighteen nineteen".split())}
TENS = {
    word: 10 * value for value, word in enumerate(listed("twenty thirty forty fifty sixty seventy eighty ninety"), 2)
}
ORDINALS = {
    **{
        word: value
        for value, word in enumerate(
            listed(
                "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
                " fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
            ),
            1,
        )
    },
    **{f"{word[:-1]}ieth": value for word, value in TENS.items()},
    "hundredth": 100,
    "thousandth": 1000,
}
SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "k": 1000,
    "lakh": 10**5,
    "million": 10**6,
    "mn": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "bn": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
PARTS = {"half": Decimal("0.5"), "halves": Decimal("0.5"), "quarter": Decimal("0.25")}
TIMES = {"once": 1, "twice": 2, "thrice": 3, "double": 2, "triple": 3, "quadruple": 4, "single": 1}
ROMAN = {
    word: value
    for value, word in enumerate(
        listed("II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX XXI"),
        2,
    )
    if len(word) > 1
}

_UNITS = {
    "s": "second sec:1 minute min:60 hour hr:3600 day:86400 week wk:604800 fortnight:1209600 millisecond ms:0.001",
    "month": "month:1 year yr:12 decade:120 century:1200",
    "m": "meter metre:1 kilometer kilometre km kms:1000 centimeter centimetre cm:0.01 millimeter millimetre mm:0.001"
    " mile mi:1609.344 yard yd:0.9144 foot feet ft:0.3048 inch:0.0254",
    "g": "gram gm:1 kilogram kilo kg kgs:1000 milligram mg:0.001 microgram mcg:0.000001 ounce oz:28.3495 lb lbs:453.592"
    " stone:6350.29 ton:907184.74 tonne:1000000",
    "l": "liter litre:1 milliliter millilitre ml:0.001 gallon:3.78541 pint:0.473176 quart:0.946353 cup:0.236588"
    " tablespoon tbsp:0.0147868 teaspoon tsp:0.00492892",
    "byte": "byte:1 kilobyte kb:1000 megabyte mb:1000000 gigabyte gb:1000000000 terabyte tb:1000000000000",
    "hz": "hertz hz:1 khz:1000 mhz:1000000 ghz:1000000000",
    "watt": "watt:1 kilowatt kw:1000 megawatt mw:1000000",
    "volt": "volt:1",
    "joule": "joule:1 calorie:4.184 kcal:4184",
    "celsius": "celsius centigrade:1",
    "fahrenheit": "fahrenheit:1",
    "kelvin": "kelvin:1",
    "mph": "mph:1",
    "kph": "kph kmh:1",
    "%": "percent percentage pct:1",
    "dollar": "dollar usd buck $:1",
    "cent": "cent:1",
    "euro": "euro eur €:1",
    "pound": "pound quid gbp £:1",
    "yen": "yen jpy ¥:1",
    "yuan": "yuan cny rmb:1",
    "rupee": "rupee inr ₹ rs:1",
    "peso": "peso mxn:1",
    "franc": "franc chf:1",
    "won": "krw ₩:1",
    "ruble": "ruble rouble rub:1",
    "bitcoin": "bitcoin btc:1",
    "ether": "ethereum eth:1",
}


def _units() -> Iterator[tuple[str, tuple[str, Decimal]]]:
    for base, groups in _UNITS.items():
        waiting: list[str] = []
        for token in groups.split():
            word, _, factor = token.partition(":")
            waiting.append(word)
            if factor:
                yield from ((name, (base, Decimal(factor))) for name in waiting)
                waiting = []


UNITS = dict(_units())
"""Of a word: what it is measured in, and how many of these it is."""
UNIT_NAMES = {measure: word for word, measure in reversed(UNITS.items())}
"""Of what a unit measures: one word for people."""
