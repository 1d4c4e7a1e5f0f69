"""What does the proxy cost? A call through it beside the same call made directly, of one small upstream on this host.

Direct calls and calls through the proxy take turns, over connections that are kept. Everything is missed: the cache is
asked, with each question a new one, and keeps every answer. An embedding, which the cache would need besides, is not
in it. `first` is the time until a stream's first byte.
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmarks.report import at_most, parser, publish
from connectors.proxy.answer_cache import Answering, ExactAnswers
from connectors.proxy.front import Front
from connectors.proxy.upstream import Upstream
from connectors.sidecar.callers import Tokens
from connectors.sidecar.context import Context
from connectors.sidecar.limits import Bodies, Rates
from connectors.sidecar.server import Server
from connectors.sidecar.service import Service
from kvstore import Metrics, NoTier, Tiers

_BAR_MS = 3.0
_NUM_CHUNKS = 30
_PATH = "/v1/chat/completions"
_USAGE = {"prompt_tokens": 9, "completion_tokens": _NUM_CHUNKS, "total_tokens": 9 + _NUM_CHUNKS}
_START_S = 60.0


@dataclass(frozen=True)
class Took:
    """Milliseconds of one call: to its first byte of a body, and to its last."""

    first_ms: float
    whole_ms: float


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--calls", type=int, default=500, help="of each kind")
    arguments = options.parse_args()
    num_calls = 100 if arguments.quick else arguments.calls
    with _process(_serve_upstream) as upstream, _process(_serve_proxy, upstream) as proxy:
        took = asyncio.run(_measured({"direct": upstream, "proxy": proxy}, num_calls))
    rows = [_row(stream, way, took[stream, way]) for stream in (False, True) for way in ("direct", "proxy")]
    checks = [
        at_most("overhead of a miss, one JSON, p50 ms", _overhead_ms(took, False, "whole_ms"), _BAR_MS),
        at_most(
            "overhead of a miss, until a stream's first byte, p50 ms", _overhead_ms(took, True, "first_ms"), _BAR_MS
        ),
        at_most(f"and until its last of {_NUM_CHUNKS + 3}, p50 ms", _overhead_ms(took, True, "whole_ms"), _BAR_MS),
    ]
    publish("proxy_overhead", rows, checks, arguments.json)


async def _measured(urls: Mapping[str, str], num_calls: int) -> dict[tuple[bool, str], list[Took]]:
    took: dict[tuple[bool, str], list[Took]] = {(stream, way): [] for stream in (False, True) for way in urls}
    async with aiohttp.ClientSession() as session:
        for number in range(-20, num_calls):  # the first ones are for warmth
            for stream in (False, True):
                for way, url in urls.items():
                    question = f"Question {number}, {'streamed' if stream else 'whole'}"
                    call = await _called(session, url, question, stream)
                    if number >= 0:
                        took[stream, way].append(call)
    return took


async def _called(session: aiohttp.ClientSession, url: str, question: str, stream: bool) -> Took:
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": question}]}
    if stream:
        body["stream_options"] = {"include_usage": True}
    began_s, first_s = time.perf_counter(), math.nan
    async with session.post(url + _PATH, json=body) as response:
        async for _ in response.content.iter_any():
            first_s = time.perf_counter() if math.isnan(first_s) else first_s
        response.raise_for_status()
    return Took(1000 * (first_s - began_s), 1000 * (time.perf_counter() - began_s))


def _row(stream: bool, way: str, calls: list[Took]) -> dict[str, Any]:
    first, whole = [call.first_ms for call in calls], [call.whole_ms for call in calls]
    return {
        "corpus": "a stream" if stream else "one JSON",
        "way": way,
        "calls": len(calls),
        "first_min_ms": min(first),
        "first_p50_ms": _quantile(first, 0.5),
        "first_p99_ms": _quantile(first, 0.99),
        "whole_min_ms": min(whole),
        "whole_p50_ms": _quantile(whole, 0.5),
        "whole_p99_ms": _quantile(whole, 0.99),
    }


def _overhead_ms(took: Mapping[tuple[bool, str], list[Took]], stream: bool, until: str) -> float:
    """Of the medians."""
    proxy, direct = ([getattr(call, until) for call in took[stream, way]] for way in ("proxy", "direct"))
    return _quantile(proxy, 0.5) - _quantile(direct, 0.5)


def _quantile(numbers: list[float], share: float) -> float:
    return statistics.quantiles(numbers, n=100, method="inclusive")[round(100 * share) - 1]


@contextmanager
def _process(serve: Any, *arguments: object) -> Iterator[str]:
    """A server in a process of its own, and where it is."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    process = multiprocessing.get_context("fork").Process(target=serve, args=(listening, *arguments), daemon=True)
    process.start()
    try:
        _wait(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def _wait(port: int) -> None:
    """Until it answers, whatever that be."""
    with socket.create_connection(("127.0.0.1", port), timeout=_START_S) as knocking:
        knocking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        knocking.recv(1)


def _serve_proxy(listening: socket.socket, upstream: str) -> None:
    cache = ExactAnswers()
    front = Front(Upstream(f"{upstream}/v1"), Answering(cache, cache.documents))
    service = Service(Tiers([NoTier()]), Metrics())
    context = Context(service, Tokens(), Rates(0), Bodies(1 << 20, 1 << 20), front=front)
    Server(context).run([listening])


def _serve_upstream(listening: socket.socket) -> None:
    app = Starlette(routes=[Route(_PATH, _answer, methods=["POST"])])
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, loop="uvloop")).run([listening])


async def _answer(request: Request) -> Response:
    asked = await request.json()
    head = {"id": "a", "created": 1, "model": "m"}
    if asked["stream"]:
        return StreamingResponse(_events(head), media_type="text/event-stream")
    choice = {"index": 0, "message": {"role": "assistant", "content": "word " * _NUM_CHUNKS}, "finish_reason": "stop"}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


async def _events(head: Mapping[str, Any]) -> Any:
    chunk = {**head, "object": "chat.completion.chunk"}
    for number in range(_NUM_CHUNKS + 1):
        ends = number == _NUM_CHUNKS
        choice = {"index": 0, "delta": {} if ends else {"content": "word "}, "finish_reason": "stop" if ends else None}
        yield b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"
    yield b"data: " + json.dumps({**chunk, "choices": [], "usage": _USAGE}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


if __name__ == "__main__":
    main()
