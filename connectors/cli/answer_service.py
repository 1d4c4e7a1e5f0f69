"""The service whose answers the commands look after, asked over HTTP: one process has them open, and it is that one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from connectors.cli.running_service import connection_to, settings_with
from connectors.proxy.schemas import AnswerBody, AnswerPage, CategoryLine, CategoryList, DropAnswer
from connectors.sidecar_connection import Answer, Connection, text_of
from kvstore import InvalidRequest

_PATIENCE_S = 60.0  # for a person: a search reads thousands of answers
_PAGE = 200
Which = Mapping[str, str | float | None]
"""`text`, `category`, `tenant` and `older_than_s`, which must all be true of an answer; None says nothing of it."""


@dataclass(frozen=True)
class Found:
    answers: list[AnswerBody]
    is_all: bool
    """False where there may be more."""


@contextmanager
def answer_service(url: str | None, token: str | None) -> Iterator[AnswerService]:
    """The one at `url`, else at sidecar.url, else the one that serves this user's settings on its Unix socket."""
    connection = connection_to(settings_with(url, token).sidecar, _PATIENCE_S)
    with asyncio.Runner() as runner:
        try:
            yield AnswerService(connection, runner)
        finally:
            runner.run(connection.close())


class AnswerService:
    """Calls wait. Each may raise TierUnavailable, when the service does not answer as it should, and InvalidRequest,
    when it keeps no answers, does not know the token, or the call makes no sense."""

    def __init__(self, connection: Connection, runner: asyncio.Runner) -> None:
        self.url = connection.url
        self._connection, self._runner = connection, runner

    def categories(self) -> list[CategoryLine]:
        """For the admin's token."""
        return self._asked(CategoryList, "GET", "/v1/categories").categories

    def answers(self, which: Which, limit: int) -> Found:
        """The oldest of them, up to `limit`."""
        found: list[AnswerBody] = []
        after: int | None = -1
        while after is not None and len(found) < limit:
            asked = {**which, "after": after, "limit": min(_PAGE, limit - len(found))}
            page = self._asked(AnswerPage, "GET", "/v1/answers", asked)
            found, after = found + page.answers, page.next_after
        return Found(found, after is None)

    def answer(self, answer_id: int) -> AnswerBody | None:
        """None when it is not held, or another tenant's."""
        page = self._asked(AnswerPage, "GET", "/v1/answers", {"after": answer_id - 1, "limit": 1})
        return next((answer for answer in page.answers if answer.id == answer_id), None)

    def count(self, which: Which) -> int:
        """How many `drop` would drop."""
        return self._asked(DropAnswer, "DELETE", "/v1/answers", {**which, "dry_run": True}).answers

    def drop(self, which: Which) -> int:
        """How many were held."""
        return self._asked(DropAnswer, "DELETE", "/v1/answers", which).answers

    def _asked(self, answer: type[Answer], method: str, path: str, query: Which | None = None) -> Answer:
        found = self._runner.run(self._said(answer, method, path, query))
        if found is None:
            raise InvalidRequest(
                f"the service at {self.url} keeps no answers: give it an upstream to answer for "
                "(KVSTORE_PROXY_UPSTREAM=http://HOST:8000/v1 kvstore serve), and semantic.capacity_bytes above 0"
            )
        return found

    async def _said(self, answer: type[Answer], method: str, path: str, query: Which | None) -> Answer | None:
        """None from a service that has no cache."""
        async with self._connection.call(method, path, query, absent=("no-cache",)) as response:
            return None if response is None else self._connection.shaped(answer, await text_of(response))
