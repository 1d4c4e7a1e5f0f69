"""Logs: lines for people on a terminal, lines of JSON for whoever collects them; each names the request it is about."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar
from enum import StrEnum
from functools import lru_cache

REQUEST_ID: ContextVar[str] = ContextVar("kvstore_request_id", default="")
"""Of the request being answered; empty outside of one."""
_JSON = json.JSONEncoder(default=str)


class LogStyle(StrEnum):
    TEXT = "text"
    JSON = "json"


def configure(style: LogStyle | None = None) -> None:
    """Has all that is logged from now on written to stderr; unless a style is given, as text to a terminal only."""
    style = style or (LogStyle.TEXT if sys.stderr.isatty() else LogStyle.JSON)
    handler = logging.StreamHandler()
    handler.addFilter(named)
    handler.setFormatter(JsonLines() if style is LogStyle.JSON else TextLines())
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # a third of a record's time
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def named(record: logging.LogRecord) -> bool:
    """A filter that leaves nothing out, and notes which request the line is about."""
    record.request_id = REQUEST_ID.get()
    return True


class TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("kvstore: %(levelname)s %(message)s%(about)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name in logging
        request_id = getattr(record, "request_id", "")
        record.about = f" [{request_id}]" if request_id else ""
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """An object a line. What a line says in numbers comes with it as `fields`, and stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            line["request_id"] = request_id
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return _JSON.encode({**line, **getattr(record, "fields", {})})


@lru_cache(1)
def _second(created_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created_s))
