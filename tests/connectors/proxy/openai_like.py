"""An upstream for tests: a real server that answers as OpenAI's do, and misbehaves as the model's name says."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

WAIT_S = 30.0
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
ERRORS = {
    "error-400": (400, "invalid_request_error", {}),
    "error-401": (401, "authentication_error", {}),
    "error-429": (429, "rate_limit_error", {"retry-after": "7", "x-ratelimit-remaining-requests": "0"}),
    "error-500": (500, "server_error", {"x-should-retry": "false"}),
}
ENDS = {"length": "length", "filter": "content_filter", "tools": "tool_calls"}
SPOILED_USAGE = {
    "no-usage": None,
    "negative-usage": {**USAGE, "completion_tokens": -5},
    "free-usage": {**USAGE, "completion_tokens": 0},
    "small-usage": {**USAGE, "total_tokens": 3},
}


class Upstream:
    """What came, and what became of it."""

    def __init__(self):
        self.asked, self.headers, self.num_gone, self.num_sent_bytes = [], [], 0, 0
        self.gate = threading.Event()
        """Holds up the model `gated`."""
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self.chat)
        self.app.post("/v1/completions")(self.completions)
        self.app.post("/v1/embeddings")(self.embeddings)
        self.app.get("/v1/models")(self.models)
        self.app.get("/v1/models/{model:path}")(self.model)
        self.app.get("/secret")(self.model)

    @property
    def num_asked(self):
        return len(self.asked)

    async def chat(self, request: Request):
        return await self.answered(request, chat_choice, "chat.completion", "chat.completion.chunk")

    async def completions(self, request: Request):
        return await self.answered(request, completion_choice, "text_completion", "text_completion")

    async def embeddings(self, request: Request):
        self.asked.append(await request.json())
        return {"object": "list", "data": [VECTOR], "model": "e", "usage": {"prompt_tokens": 1, "total_tokens": 1}}

    async def models(self, request: Request):
        self.headers.append(dict(request.headers))
        return {"object": "list", "data": [{"id": "plain", "object": "model", "created": 1, "owned_by": "me"}]}

    async def model(self, request: Request):
        self.asked.append(request.scope["raw_path"].decode())
        return {"id": request.path_params.get("model"), "object": "model", "created": 1, "owned_by": "me"}

    async def answered(self, request, choice, kind, chunk_kind):
        raw = await request.body()
        self.headers.append(dict(request.headers))
        try:
            asked = json.loads(raw)
            model = asked["model"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self.asked.append(raw)
            return JSONResponse({"error": {"message": "no JSON", "type": "invalid_request_error"}}, 400)
        self.asked.append(asked)
        if model in ERRORS:
            status, kind, headers = ERRORS[model]
            error = {"message": f"{model}, as you wished", "type": kind, "param": "model", "code": "wished"}
            return JSONResponse(
                {"error": error}, status, {**headers, "x-request-id": "upstream-1", "set-cookie": "a=b"}
            )
        if model == "redirect":
            return RedirectResponse("http://169.254.169.254/latest/meta-data")
        if model == "gated":
            await asyncio.to_thread(self.gate.wait, WAIT_S)
        if model == "hang":
            await self.until_gone(request)
        if model == "slow":
            await asyncio.sleep(0.2)
        head = {"id": "up-1", "object": kind, "created": 1, "model": model, "system_fingerprint": "fp"}
        if asked.get("stream"):
            events = self.events(request, asked, {**head, "object": chunk_kind}, choice)
            return StreamingResponse(events, media_type="text/event-stream", headers={"x-from": "upstream"})
        usage = SPOILED_USAGE.get(model, USAGE)
        whole = {**head, "choices": [choice(asked, index) for index in range(asked.get("n") or 1)]}
        if usage is not None:
            whole["usage"] = usage
        if model == "dies":
            body = json.dumps(whole).encode()
            return StreamingResponse(dying(body), media_type="application/json")
        if model == "no-json":
            return Response(b'{"id": "up', media_type="application/json")
        return JSONResponse(whole, headers={"x-from": "upstream"})

    async def events(self, request, asked, head, choice):
        model, number = asked["model"], asked.get("n") or 1
        endless = model == "endless"
        for index in range(number):
            for delta in deltas(choice(asked, index), endless):
                if model == "hang-mid" and "finish_reason" in delta:
                    await self.until_gone(request)
                if model == "dies" and "finish_reason" in delta:
                    raise RuntimeError("the upstream dies")
                await asyncio.sleep(0.02 if model in ("paced", "gated-mid") else 0)
                if model == "gated-mid" and "finish_reason" in delta:
                    await asyncio.to_thread(self.gate.wait, WAIT_S)
                chunk = {"index": index, "logprobs": None, "finish_reason": None, **delta}
                event = said({**head, "choices": [chunk]})
                self.num_sent_bytes += len(event)
                yield event
        if model == "error-event":
            yield said({"error": {"message": "out of memory", "type": "server_error"}})
        usage = SPOILED_USAGE.get(model, USAGE)
        if (asked.get("stream_options") or {}).get("include_usage") and usage is not None:
            yield said({**head, "choices": [], "usage": usage})
        if model != "no-done":
            yield b"data: [DONE]\n\n"

    async def until_gone(self, request):
        try:
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
        finally:
            self.num_gone += 1


async def dying(body):
    yield body[:20]
    raise RuntimeError("the upstream dies")


def said(chunk):
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def answer_to(asked, index=0):
    """What the model `plain` says."""
    content = asked["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    return f"Answer {index} to: {text}"


def chat_choice(asked, index):
    model = asked.get("model", "")
    message = {"role": "assistant", "content": answer_to(asked, index)}
    if model == "tools":
        message |= {"content": None, "tool_calls": [TOOL_CALL]}
    if model == "refusal":
        message |= {"content": None, "refusal": "I would rather not"}
    if model == "reasons":
        message |= {"reasoning_content": "Let me think about that for a while"}
    if model == "silent":
        message |= {"content": ""}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": ENDS.get(model, "stop")}


def completion_choice(asked, index):
    text = f" continued {index} after {asked['prompt']}"
    return {"index": index, "text": text, "logprobs": None, "finish_reason": ENDS.get(asked["model"], "stop")}


def deltas(choice, endless):
    """Of a choice, as a stream has them."""
    if "text" in choice:
        yield from ({"text": word} for word in words(choice["text"]))
        yield {"text": "", "finish_reason": choice["finish_reason"]}
        return
    message = choice["message"]
    yield {"delta": {"role": "assistant", "content": ""}}
    while endless:
        yield {"delta": {"content": "more " * 400}}
    for name in ("reasoning_content", "content", "refusal"):
        yield from ({"delta": {name: word}} for word in words(message.get(name) or ""))
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        yield {"delta": {"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]}}
        for part in (function["arguments"][:5], function["arguments"][5:]):
            yield {"delta": {"tool_calls": [{"index": index, "function": {"arguments": part}}]}}
    yield {"delta": {}, "finish_reason": choice["finish_reason"]}


def words(text):
    return [word + " " for word in text.split(" ")[:-1]] + text.split(" ")[-1:] if text else []


@contextmanager
def upstream_serving(upstream=None):
    """The upstream, which may be another than `Upstream`, and its base URL."""
    upstream, listening = upstream or Upstream(), socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        upstream.app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=[[listening]], name="upstream", daemon=True)
    thread.start()
    ends_s = time.monotonic() + WAIT_S
    while not server.started:
        assert time.monotonic() < ends_s, "the upstream did not start in time"
        time.sleep(0.005)
    try:
        yield upstream, f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        upstream.gate.set()
        server.should_exit = True
        thread.join()
