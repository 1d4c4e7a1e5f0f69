"""Guards of negation and of opposites: `not`, enable and disable, before and after, more and less."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

from semantic_cache.guards.differing import said
from semantic_cache.guards.function_words import FUNCTION_WORDS
from semantic_cache.guards.reading import Reading
from semantic_cache.guards.word_lists import word_set
from semantic_cache.lexicon import lexicon

DENYING = word_set(
    "not no never none nobody nothing neither nor nowhere without unable impossible hardly barely non nonexistent"
)
DENYING_LEMMAS = word_set("fail refuse avoid prevent lack stop forbid ban prohibit skip ignore exclude")
"""Verbs that deny what follows, unless the other text has them as well."""

OPPOSITE_WORDS = (
    "before after|above below|over under|up down|in out|on off|into out|with without|inside outside|more less"
    "|more fewer|most least|many few|much little|max min|maximum minimum|maximal minimal|top bottom|left right"
    "|increase decrease|raise lower|grow shrink|gain lose|rise fall|higher lower|high low|long short"
    "|longer shorter|ascending descending|asc desc|forward backward|forwards backwards|north south|east west"
    "|upper lower|enable disable|activate deactivate|start stop|begin end|open close|lock unlock"
    "|install uninstall|add remove|add delete|create delete|create remove|insert delete|insert remove"
    "|append remove|subscribe cancel|attach detach|connect disconnect|mount unmount|join leave|import export"
    "|upload download|encode decode|encrypt decrypt|compress decompress|compress extract|zip unzip"
    "|serialize deserialize|push pull|read write|send receive|give take|give receive|buy sell|lend borrow"
    "|deposit withdraw|credit debit|win lose|accept reject|accept decline|approve reject|approve deny"
    "|allow deny|allow block|allow forbid|block unblock|grant revoke|show hide|login logout|log logout|get set"
    "|get give|input output|inbound outbound|incoming outgoing|internal external|sender recipient"
    "|sender receiver|client server|source target|source destination|public private|local remote|local global"
    "|online offline|manual automatic|manually automatically|synchronous asynchronous|sync async"
    "|static dynamic|mutable immutable|positive negative|true false|yes no|pass fail|success failure"
    "|succeed fail|good bad|better worse|best worst|safe dangerous|safe unsafe|legal illegal|hot cold"
    "|warm cool|old new|old young|older younger|oldest newest|oldest youngest|older newer|early late"
    "|earlier later|earliest latest|first last|next previous|next last|past future|same different|alive dead"
    "|male female|man woman|boy girl|husband wife|mother father|son daughter|brother sister|he she|his her"
    "|him her|himself herself|king queen|big small|large small|biggest smallest|largest smallest|fast slow"
    "|faster slower|fastest slowest|cheap expensive|cheapest expensive|strong weak|hard easy|hard soft"
    "|heavy light|dark light|wet dry|rich poor|full empty|thick thin|wide narrow|deep shallow|loud quiet"
    "|love hate|like dislike|like hate|include exclude|permanent temporary|permanently temporarily"
    "|temporary permanent|everyone nobody|always never|arrival departure|arrive depart|arrive leave|pros cons"
    "|advantage disadvantage|benefit risk|benefit drawback|strength weakness|profit loss|supply demand"
    "|question answer|parent child|employer employee|landlord tenant|teacher student|doctor patient"
    "|cause effect|cause prevent|cause cure|cause treat|gross net|fixed variable|major minor|senior junior"
    "|domestic international|foreign domestic|singular plural|vertical horizontal|vertically horizontally"
    "|row column|numerator denominator|asset liability|bullish bearish|bull bear|inhale exhale|expand collapse"
    "|expand contract|merge split|speed slow|lighten darken|strengthen weaken|loosen tighten|freeze thaw"
    "|freeze unfreeze|follow unfollow|mute unmute|pause resume|hire fire|admit deny|agree disagree"
    "|remember forget|laugh cry|build destroy|save spend|save delete|attack defend|eat avoid|use avoid"
    "|wear avoid|keep remove|keep delete|keep discard|keep cancel|renew cancel|continue stop|promote demote"
    "|upgrade downgrade|opt unsubscribe|lead follow|ask answer|enter exit|enter leave|charge discharge"
)


def _pairs() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for pair in OPPOSITE_WORDS.split("|"):
        one, other = pair.split()
        found[one].add(other)
        found[other].add(one)
    return {word: frozenset(others) for word, others in found.items()}


OPPOSITES = _pairs()
"""Both ways, beside those of WordNet: closed classes, comparisons, and what computers do."""


def negation(asked: Reading, stored: Reading) -> str | None:
    """The number of words that deny, which must be equal: two of them may cancel each other, or may not."""
    mine, theirs = _denials(asked, stored), _denials(stored, asked)
    if len(mine) == len(theirs):
        return None
    return said("negation", mine, theirs)


def opposites(asked: Reading, stored: Reading) -> str | None:
    """A word of one text has its opposite in the other, and neither has both."""
    mine, theirs = _own(asked, stored), _own(stored, asked)
    for word in sorted(mine) if theirs else ():
        for other in sorted(_opposites(word) & theirs):
            return f"opposite: {word!r} is not {other!r}"
    return None


@lru_cache(maxsize=1 << 14)
def _opposites(word: str) -> frozenset[str]:
    listed = OPPOSITES.get(word, frozenset())
    return listed if word in FUNCTION_WORDS else listed | (set(lexicon().opposites(word)) - FUNCTION_WORDS)


def _own(reading: Reading, other: Reading) -> set[str]:
    """Words, as written and uninflected, of which the other text has no form."""
    found, unshared = set[str](), reading.lowers - other.lowers
    for word in reading.words if unshared else ():
        if word.lower in unshared and not word.is_number and word.lemma not in other.lemmas:
            found |= {word.lower, word.lemma}
    return found


def _denials(reading: Reading, other: Reading) -> list[str]:
    if reading.lowers.isdisjoint(DENYING) and reading.lemmas.isdisjoint(DENYING_LEMMAS):
        return []
    return [
        word.lower
        for word in reading.words
        if word.lower in DENYING or (word.lemma in DENYING_LEMMAS and word.lemma not in other.lemmas)
    ]
