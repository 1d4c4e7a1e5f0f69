"""Callers: who asks, and whose frames that one may see. Tokens are compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from connectors.setting_values import SHORTEST_TOKEN, is_token
from connectors.sidecar.problems import Problem
from kvstore import Entry, InvalidRequest


@dataclass(frozen=True)
class Caller:
    """Whose token it was. `tenant` is None for who may do everything, for every tenant."""

    tenant: str | None
    on_this_host: bool = False
    """Came over the Unix socket, so it can open the files it is told of."""

    @property
    def is_admin(self) -> bool:
        return self.tenant is None

    @property
    def name(self) -> str:
        """For limits, leases and the log."""
        return "admin" if self.tenant is None else f"tenant:{self.tenant}"

    def sees(self, entry: Entry) -> bool:
        return self.tenant is None or entry.terms.tenant == self.tenant

    def acts_for(self, tenant: str | None) -> str:
        """The tenant that is meant, where the request names `tenant` or nobody. Raises Problem for another's."""
        if self.tenant is None:
            return tenant or ""
        if tenant not in (None, self.tenant):
            raise Problem("forbidden", "this token is another tenant's")
        return self.tenant

    def require_admin(self) -> None:
        if not self.is_admin:
            raise Problem("forbidden", "this takes the admin token")


class Tokens:
    """Who has which token. Where there are none, everybody is admin: the service is then for this host alone."""

    def __init__(self, admin: str = "", tenants: Mapping[str, str] | None = None) -> None:
        """`tenants`: tokens by tenant. Raises InvalidRequest on tokens that are too short, or somebody else's too."""
        named: list[tuple[str | None, str]] = [(None, admin)] if admin else []
        named += (tenants or {}).items()
        for owner, token in named:
            if not is_token(token):
                who = "the admin" if owner is None else f"tenant {owner!r}"
                raise InvalidRequest(f"the token of {who} must be of {SHORTEST_TOKEN} or more printable characters")
        if len({token for _, token in named}) < len(named):
            raise InvalidRequest("two have the same token")
        self._owners = [(_digest(token), owner) for owner, token in named]

    def __bool__(self) -> bool:
        return bool(self._owners)

    def caller(self, token: str | None, on_this_host: bool) -> Caller:
        """Raises Problem where a token is needed and this is none of them."""
        if not self._owners:
            return Caller(None, on_this_host)
        given, found = _digest(token or ""), None
        for known, owner in self._owners:  # all of them, however early one is the right one
            if hmac.compare_digest(known, given):
                found = Caller(owner, on_this_host)
        if found is None:
            reason = "no token was given" if token is None else "this token is not known"
            raise Problem(
                "unauthorized", f"{reason}: send `Authorization: Bearer TOKEN`", {"WWW-Authenticate": "Bearer"}
            )
        return found


def _digest(token: str) -> bytes:
    """Of one length, so that comparing takes no longer for one than for another."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
