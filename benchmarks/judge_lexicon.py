"""Makes the judge's lexicon of WordNet 3.0: which words are known, what they are forms of, alike or opposite to.

python -m benchmarks.judge_lexicon --wordnet /usr/share/wordnet (Debian's package `wordnet-base`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semantic_cache.lexicon import LEXICON

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
PLAIN = re.compile(r"[a-z]{2,24}")
SENSES = 3  # of a word, the most frequent ones, in which it may stand for another


@dataclass(frozen=True)
class Synset:
    key: str
    words: tuple[str, ...]
    opposites: tuple[tuple[int, str, int], ...]
    """Of the word at a place (from 0, or -1 for all): the synset and the place of its opposite."""
    above: tuple[str, ...]
    """Keys of what it is a kind of."""


def synsets(folder: Path) -> Iterator[Synset]:
    """See the manual page wndb(5WN)."""
    for part, letter in PARTS.items():
        for line in (folder / f"data.{part}").read_text("latin-1").splitlines():
            if line.startswith(" "):
                continue
            fields = line.split("|")[0].split()
            count = int(fields[3], 16)
            words = tuple(re.sub(r"\(.*\)", "", fields[4 + 2 * place]) for place in range(count))
            at = 4 + 2 * count
            pointers = [fields[at + 1 + 4 * i : at + 5 + 4 * i] for i in range(int(fields[at]))]
            opposites = tuple(
                (int(places[:2], 16) - 1, f"{kind}{offset}", int(places[2:], 16) - 1)
                for symbol, offset, kind, places in pointers
                if symbol == "!"
            )
            above = tuple(f"{kind}{offset}" for symbol, offset, kind, _ in pointers if symbol in ("@", "@i"))
            yield Synset(f"{letter}{fields[0]}", words, opposites, above)


def senses(folder: Path) -> dict[str, list[str]]:
    """Of each word, the keys of its synsets in each part of speech, most frequent first, cut at SENSES."""
    found: dict[str, list[str]] = defaultdict(list)
    for part, letter in PARTS.items():
        for line in (folder / f"index.{part}").read_text("latin-1").splitlines():
            if line.startswith(" "):
                continue
            fields = line.split()
            offsets = fields[-int(fields[2]) :]
            found[fields[0]] += [f"{letter}{offset}" for offset in offsets[:SENSES]]
    return found


def irregular(folder: Path, known: set[str]) -> dict[str, str]:
    forms: dict[str, str] = {}
    for part in PARTS:
        for line in (folder / f"{part}.exc").read_text("latin-1").splitlines():
            form, lemma = line.split()[:2]
            if form != lemma and PLAIN.fullmatch(form) and lemma in known:
                forms.setdefault(form, lemma)
    return forms


def lexicon(folder: Path) -> dict[str, object]:
    every = {synset.key: synset for synset in synsets(folder)}
    frequent = senses(folder)
    known: set[str] = set()
    names: set[str] = set()
    for synset in every.values():
        for word in synset.words:
            lower = word.lower()
            if PLAIN.fullmatch(lower):
                (known if word == lower else names).add(lower)
            elif word != lower and "_" in word:
                names.update(p.lower() for p in word.split("_") if p[:1].isupper() and PLAIN.fullmatch(p.lower()))
    names -= known
    alike = []
    opposite = set()
    for synset in every.values():
        lower_words = [word.lower() for word in synset.words]
        group = sorted({w for w in lower_words if PLAIN.fullmatch(w) and synset.key in frequent.get(w, [])})
        if len(group) > 1:
            alike.append(" ".join(group))
        for place, other_key, other_place in synset.opposites:
            other = every[other_key].words[max(other_place, 0)].lower()
            word = lower_words[max(place, 0)]
            if PLAIN.fullmatch(word) and PLAIN.fullmatch(other):
                opposite.add(" ".join(sorted((word, other))))
    return {
        "known": " ".join(sorted(known)),
        "names": " ".join(sorted(names)),
        "alike": sorted(set(alike)),
        "opposite": sorted(opposite),
        "forms": irregular(folder, known),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=LEXICON)
    arguments = parser.parse_args()
    content = lexicon(arguments.wordnet)
    for name, part in content.items():
        print(name, len(gzip.compress(json.dumps(part).encode())))
    arguments.out.write_bytes(gzip.compress(json.dumps(content).encode(), 9, mtime=0))
    print(arguments.out, arguments.out.stat().st_size)


if __name__ == "__main__":
    main()
