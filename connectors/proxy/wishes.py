"""Wishes: what a caller's headers ask of the cache. They may tighten what is served, never loosen it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers

from connectors.sidecar.problems import Problem

LONGEST_S = 10.0**10
CATEGORY_PATTERN = "^[A-Za-z0-9._-]{1,64}$"
_CATEGORY = re.compile(CATEGORY_PATTERN.strip("^$"))
_WAYS = ("", "bypass", "refresh")


@dataclass(frozen=True)
class Wishes:
    """By default: an answer that is held, if it is right; and the new one is kept."""

    looks: bool = True
    """Whether an answer that is held may do."""
    keeps: bool = True
    """Whether what is computed may be kept for others."""
    only_held: bool = False
    """Nothing is to be computed."""
    max_age_s: float = math.inf
    ttl_s: float | None = None
    category: str | None = None
    explains: bool = False

    @property
    def are_bypass(self) -> bool:
        return not self.looks and not self.keeps


def read_wishes(headers: Headers) -> Wishes:
    """Raises Problem on a value that is none; directives of Cache-Control that are not known change nothing."""
    asked = dict(_directives(headers.getlist("cache-control")))
    way = _one_of("x-kvstore-cache", headers.get("x-kvstore-cache", ""), _WAYS)
    ttl_s = _seconds("x-kvstore-ttl-s", headers.get("x-kvstore-ttl-s"))
    only_held = "only-if-cached" in asked
    looks = not way and "no-cache" not in asked
    if only_held and not looks:
        raise Problem("invalid-request", "only-if-cached, and nothing that is cached: leave one of them out")
    return Wishes(
        looks=looks,
        keeps=way != "bypass" and "no-store" not in asked and ttl_s != 0,
        only_held=only_held,
        max_age_s=_age(asked["max-age"]) if "max-age" in asked else math.inf,
        ttl_s=ttl_s,
        category=_category(headers.get("x-kvstore-category")),
        explains=_one_of("x-kvstore-explain", headers.get("x-kvstore-explain", ""), ("", "true", "false")) == "true",
    )


def _directives(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for directive in ",".join(lines).split(","):
        name, _, value = directive.partition("=")
        yield name.strip().lower(), value.strip().strip('"')


def _age(value: str) -> float:
    """What is no number lets nothing pass that is held (RFC 9111, section 4.2.1)."""
    return min(float(value), LONGEST_S) if value.isascii() and value.isdigit() else 0.0


def _seconds(name: str, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_S:
        raise Problem("invalid-request", f"{name} is a number of seconds from 0, for not at all, to {LONGEST_S:g}")
    return seconds


def _category(value: str | None) -> str | None:
    if value is not None and _CATEGORY.fullmatch(value) is None:
        raise Problem("invalid-request", "x-kvstore-category is 1 to 64 letters, digits, dots, hyphens or underscores")
    return value


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Problem("invalid-request", f"{name} is {' or '.join(filter(None, allowed))}, or left out")
    return value
