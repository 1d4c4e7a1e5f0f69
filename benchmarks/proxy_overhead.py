"""What does the proxy cost? A call through it beside the same call made directly, of one small upstream on this host.

Direct calls and calls through two proxies take turns, over connections that are kept. One proxy's cache knows the same
words alone; the other's is the one that `kvstore serve` has by default, which embeds each question. Everything is
missed: the cache is asked, with each question a new one, and keeps every answer. Questions are like each other, so the
second cache judges neighbours each time. The time that embedding takes in its process is measured there, and is not in
its overhead. `first` is the time until a stream's first byte.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import math
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmarks.report import at_most, parser, publish
from connectors.answering import open_answering
from connectors.proxy.answer_cache import Answering, ExactAnswers
from connectors.proxy.front import Front
from connectors.proxy.upstream import Upstream
from connectors.setting_tables import SemanticSettings
from connectors.sidecar.callers import Tokens
from connectors.sidecar.context import Context
from connectors.sidecar.limits import Bodies, Rates
from connectors.sidecar.server import Server
from connectors.sidecar.service import Service
from kvstore import Metrics, NoTier, Tiers
from semantic_cache.onnx_embedder import OnnxEmbedder, TextVectors

_BAR_MS = 3.0
_NUM_CHUNKS = 30
_DIRECT, _SAME_WORDS, _SEMANTIC = "direct", "same words", "semantic"
_PATH = "/v1/chat/completions"
_USAGE = {"prompt_tokens": 9, "completion_tokens": _NUM_CHUNKS, "total_tokens": 9 + _NUM_CHUNKS}
_START_S = 60.0
_FORKED = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Took:
    """Milliseconds of one call: to its first byte of a body, and to its last; and how many of them embedding took."""

    first_ms: float
    whole_ms: float
    embedding_ms: float


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--calls", type=int, default=500, help="of each kind")
    arguments = options.parse_args()
    num_calls, embedding_ms = 100 if arguments.quick else arguments.calls, _FORKED.Value(ctypes.c_double)
    with (
        tempfile.TemporaryDirectory() as directory,
        _process(_serve_upstream) as upstream,
        _process(_serve_same_words, upstream) as same_words,
        _process(_serve_semantic, upstream, Path(directory), embedding_ms) as semantic,
    ):
        urls = {_DIRECT: upstream, _SAME_WORDS: same_words, _SEMANTIC: semantic}
        took = asyncio.run(_measured(urls, embedding_ms, num_calls))
    rows = [_row(stream, way, calls) for (stream, way), calls in took.items()]
    checks = [
        at_most(f"overhead of a miss, {way}, {what}, p50 ms", _overhead_ms(took, way, stream, until), _BAR_MS)
        for way in (_SAME_WORDS, _SEMANTIC)
        for what, stream, until in (
            ("one JSON", False, "whole_ms"),
            ("until a stream's first byte", True, "first_ms"),
            (f"until its last of {_NUM_CHUNKS + 3}", True, "whole_ms"),
        )
    ]
    publish("proxy_overhead", rows, checks, arguments.json)


async def _measured(
    urls: Mapping[str, str], embedding_ms: Synchronized[float], num_calls: int
) -> dict[tuple[bool, str], list[Took]]:
    """`embedding_ms` is of all calls so far."""
    took: dict[tuple[bool, str], list[Took]] = {(stream, way): [] for stream in (False, True) for way in urls}
    async with aiohttp.ClientSession() as session:
        for number in range(-20, num_calls):  # the first ones are for warmth
            for stream in (False, True):
                question = f"What is asked in question {number}, {'streamed' if stream else 'whole'}?"
                for way, url in urls.items():
                    before_ms = embedding_ms.value
                    first_ms, whole_ms = await _called(session, url, question, stream)
                    if number >= 0:
                        took[stream, way].append(Took(first_ms, whole_ms, embedding_ms.value - before_ms))
    return took


async def _called(session: aiohttp.ClientSession, url: str, question: str, stream: bool) -> tuple[float, float]:
    """Milliseconds to the first byte, and to the last."""
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": question}]}
    if stream:
        body["stream_options"] = {"include_usage": True}
    began_s, first_s = time.perf_counter(), math.nan
    async with session.post(url + _PATH, json=body) as response:
        async for _ in response.content.iter_any():
            first_s = time.perf_counter() if math.isnan(first_s) else first_s
        response.raise_for_status()
    return 1000 * (first_s - began_s), 1000 * (time.perf_counter() - began_s)


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
        "embedding_p50_ms": _quantile([call.embedding_ms for call in calls], 0.5),
    }


def _overhead_ms(took: Mapping[tuple[bool, str], list[Took]], way: str, stream: bool, until: str) -> float:
    """Of the medians, without embedding."""
    proxy, direct = (
        [getattr(call, until) - call.embedding_ms for call in took[stream, each]] for each in (way, _DIRECT)
    )
    return _quantile(proxy, 0.5) - _quantile(direct, 0.5)


def _quantile(numbers: list[float], share: float) -> float:
    return statistics.quantiles(numbers, n=100, method="inclusive")[round(100 * share) - 1]


@contextmanager
def _process(serve: Any, *arguments: object) -> Iterator[str]:
    """A server in a process of its own, and where it is."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    process = _FORKED.Process(target=serve, args=(listening, *arguments), daemon=True)
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


def _serve_same_words(listening: socket.socket, upstream: str) -> None:
    cache = ExactAnswers()
    _serve_proxy(listening, upstream, Answering(cache, cache.documents))


def _serve_semantic(
    listening: socket.socket, upstream: str, directory: Path, embedding_ms: Synchronized[float]
) -> None:
    look = OnnxEmbedder.look

    def timed(embedder: OnnxEmbedder, text: str) -> TextVectors:
        began_s = time.perf_counter()
        seen = look(embedder, text)
        embedding_ms.value += 1000 * (time.perf_counter() - began_s)
        return seen

    OnnxEmbedder.look = timed  # type: ignore[method-assign, assignment]
    with open_answering(SemanticSettings(directory / "answers")) as answering:
        _serve_proxy(listening, upstream, answering)


def _serve_proxy(listening: socket.socket, upstream: str, answering: Answering) -> None:
    front = Front(Upstream(f"{upstream}/v1"), answering)
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
