"""Lists of words as they are written in this package: one string, with a space between words."""


def listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())
