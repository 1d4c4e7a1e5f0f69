"""Categories in a TOML file: `[category.NAME]` tables over those that come shipped, and taken anew when it changes.

[category.medical]
allowed = false

[category.recipes]                 # a new one says what it is for
description = "cooking"
floor = 0.85
ttl_s = "7d"
examples = ["How long do I boil an egg?", "What can replace butter?"]
"""

from __future__ import annotations

import logging
import math
import threading
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from connectors.duration import parse_duration
from connectors.nearest import nearest_of
from connectors.setting_values import READERS
from kvstore import InvalidRequest, KVCacheError
from semantic_cache.category import Category, Guards, Mode, Rule
from semantic_cache.shipped import SHIPPED

TABLE = "category"
_MOST_BYTES = 1 << 20
_MOST_TEXTS, _LONGEST_TEXT = 1000, 2000
_SETTINGS = {name.split(".")[0] for name in READERS}
"""Tables of the same file that are not about categories."""
_log = logging.getLogger(__name__)


def parse_categories(file: bytes, origin: str) -> tuple[Category, ...]:
    """The shipped categories as a file changes them, and its new ones before `default`.

    `origin` is where the file is, for messages. Raises InvalidRequest, which names the value and what is allowed, on
    whatever is not TOML, not known or not allowed.
    """
    if len(file) > _MOST_BYTES:
        raise InvalidRequest(f"{origin} has {len(file)} bytes; allowed are {_MOST_BYTES}")
    try:
        tables = tomllib.loads(file.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{origin} cannot be read: {error}") from error
    for table in tables.keys() - {TABLE} - _SETTINGS:
        raise InvalidRequest(
            f"{origin}: [{table}] is not a table that is known{nearest_of(table, {TABLE, *_SETTINGS})}"
        )
    return categories_of(tables.get(TABLE, {}), origin)


def categories_of(given: object, origin: str) -> tuple[Category, ...]:
    """The same, of the table `category` of a file that somebody else has read."""
    if not isinstance(given, dict):
        raise InvalidRequest(f"{origin}: {TABLE} is {given!r}; allowed are tables [{TABLE}.NAME]")
    shipped = {category.name: category for category in SHIPPED}
    changed = {name: _category(name, table, shipped, origin) for name, table in given.items()}
    new = [category for name, category in changed.items() if name not in shipped]
    *others, default = (changed.get(name, category) for name, category in shipped.items())
    return (*others, *new, default)


def _category(name: str, table: object, shipped: Mapping[str, Category], origin: str) -> Category:
    where = f"{TABLE}.{name}"
    if not isinstance(table, dict):
        raise InvalidRequest(f"{where} is {table!r} (from {origin}); allowed is a table of its settings")
    if name not in shipped and "description" not in table:
        nearest = nearest_of(name, shipped)
        raise InvalidRequest(
            f"{origin}: [{where}] changes no category that is there{nearest}. A new one has a description"
        )
    values = {}
    for key, value in table.items():
        if key not in _READERS:
            raise InvalidRequest(f"{origin}: {where}.{key} is not a setting{nearest_of(key, _READERS)}")
        values[key] = _read(key, value, where, origin)
    try:
        return replace(shipped[name], **values) if name in shipped else Category(name, **values)
    except InvalidRequest as error:
        raise InvalidRequest(f"{origin}: {error}") from error


def _read(key: str, value: object, where: str, origin: str) -> Any:
    parse, allowed = _READERS[key]
    try:
        return parse(value)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{where}.{key} is {value!r:.200} (from {origin}); allowed is {allowed}") from error


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise ValueError(value)
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_TEXTS or not all(_text(text).strip() for text in value):
        raise ValueError(value)
    return tuple(value)


def _rules(value: object) -> frozenset[Rule]:
    return frozenset(map(Rule, _texts(value)))


def _mode(value: object) -> Mode:
    return Mode(_text(value))


def _guards(value: object) -> Guards:
    return Guards(_text(value))


def _number(value: object) -> float:
    """Its bounds are the category's to check."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(value)
    return float(value)


def _trusted(value: object) -> float:
    return math.inf if value is False else _number(value)


def _ttl(value: object) -> float:
    seconds = parse_duration(value) if isinstance(value, str) else _number(value)
    return math.inf if seconds == 0 else seconds


_SHARE = "a number from 0 to 1"
_READERS: Mapping[str, tuple[Callable[[object], object], str]] = {
    "description": (_text, f"a text of up to {_LONGEST_TEXT} characters"),
    "allowed": (_flag, "true or false"),
    "mode": (_mode, " or ".join(Mode)),
    "guards": (_guards, " or ".join(Guards)),
    "floor": (_number, _SHARE),
    "floor_drop": (_number, _SHARE),
    "least_floor": (_number, _SHARE),
    "ttl_s": (_ttl, "a number of seconds or a text such as 90min or 7d; 0 is for ever"),
    "ttl_stretch": (_number, "a number from 1"),
    "quota": (_number, _SHARE),
    "max_wrong": (_number, "a number from 0 to 0.5"),
    "trusted": (_trusted, "a score from 0 to 1, or false for none"),
    "small_model": (_flag, "true or false"),
    "keeps": (_rules, f"a list of {', '.join(Rule)}"),
    "keywords": (_texts, "a list of words or phrases"),
    "examples": (_texts, "a list of queries"),
}
"""Every setting of a category: how its value is read, and what is allowed."""
assert _READERS.keys() | {"name"} == {field.name for field in fields(Category)}, "every field can be set"


@dataclass(frozen=True)
class FileState:
    """For people to see: whether what is in effect is what the file says."""

    path: Path
    in_effect: str
    """Digest of the file whose categories were taken last; empty of none."""
    problem: str | None
    """Why the file as it is now was not taken."""


class CategoryFile:
    """Hands on what a file says, and again whenever it says something else.

    A file that is broken, or gone, changes nothing; that is logged once, and shown in `state`. A change is not taken
    before two looks have seen the same: half a file can be sound TOML, without the table that bars something.
    """

    def __init__(self, path: Path, take: Callable[[Sequence[Category]], None], look_every_s: float = 1.0) -> None:
        """`take` puts categories into effect, or raises a KVCacheError: InvalidRequest until the file is mended, any
        other to be asked again at the next look."""
        self._path, self._take, self._look_every_s = path, take, look_every_s
        self._stat: tuple[int, int, int] | None = None
        self._seen = self._in_effect = self._refused = ""
        self._problem: str | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> FileState:
        return FileState(self._path, self._in_effect, self._problem)

    def load(self) -> None:
        """Takes the file as it is. Raises InvalidRequest where it is broken or missing."""
        try:
            file = self._path.read_bytes()
        except OSError as error:
            raise InvalidRequest(f"the file of categories {self._path} cannot be read: {error}") from error
        self._take(parse_categories(file, str(self._path)))
        self._in_effect = self._seen = _digest(file)

    def look(self) -> bool:
        """Whether something new was taken. Reads the file only when it looks changed, or still may be changing."""
        try:
            status = self._path.stat()
            stat = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stat == self._stat:
                return False
            file = self._path.read_bytes()
        except OSError as error:
            self._stat, self._seen = None, ""
            self._refuse("unreadable", f"the file of categories {self._path} cannot be read: {error}")
            return False
        digest = _digest(file)
        settled, self._seen = digest == self._seen, digest
        if not settled:
            return False
        self._stat = stat
        return self._try(file, digest)

    def start(self) -> None:
        """Looks once in a while from now on, in a thread of its own, until `close`."""
        self._thread = threading.Thread(target=self._look_on, name="categories", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _look_on(self) -> None:
        while not self._stopped.wait(self._look_every_s):
            self.look()

    def _try(self, file: bytes, digest: str) -> bool:
        if digest == self._in_effect:
            self._problem, self._refused = None, ""
            return False
        try:
            self._take(parse_categories(file, str(self._path)))
        except KVCacheError as error:
            if not isinstance(error, InvalidRequest):
                self._stat = None  # not the file's fault: to be tried again
            self._refuse(digest, str(error))
            return False
        self._in_effect, self._problem, self._refused = digest, None, ""
        _log.info("categories of %s taken", self._path)
        return True

    def _refuse(self, digest: str, problem: str) -> None:
        if digest != self._refused:
            _log.warning("the categories stay as they were: %s", problem)
        self._refused, self._problem = digest, problem


def _digest(file: bytes) -> str:
    return blake2b(file, digest_size=16).hexdigest()
