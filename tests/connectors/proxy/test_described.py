"""The OpenAPI description is true of a proxy with a cache: schemathesis asks for what is in it, and for what is not."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi import checks
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from connectors.sidecar.app import create_app
from connectors.sidecar.callers import Tokens
from connectors.sidecar.context import Context
from connectors.sidecar.limits import Bodies, Rates
from connectors.sidecar.service import Service
from kvstore import Metrics, NoTier, Tiers
from tests.connectors.proxy.answered import answered, fill
from tests.connectors.proxy.conftest import ADMIN
from tests.connectors.proxy.openai_like import USAGE, Upstream

ASKED = {"/v1/chat/completions", "/v1/completions"}
"""What these take beside what is described is the upstream's to refuse."""
CONFIG = schemathesis.Config.from_dict({"headers": {"Authorization": f"Bearer {ADMIN}"}})


def description():
    service = Service(Tiers([NoTier()]), Metrics())
    try:
        return create_app(Context(service, Tokens(), Rates(0), Bodies(1, 1))).openapi()
    finally:
        service.close()


schema = schemathesis.openapi.from_dict(description(), config=CONFIG).include(tag=["proxy", "answers"])


async def answer(request):
    try:
        asked = {} if request.method == "GET" else json.loads(await request.body())
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        return JSONResponse({"error": {"message": "no object"}}, 400)
    choice = {"index": 0, "finish_reason": "stop"}
    head = {"id": "a", "created": 1, "model": "m", "usage": USAGE}
    if asked.get("stream") is True:
        chunk = {**head, "object": "chat.completion.chunk", "choices": [{**choice, "delta": {"content": "Yes."}}]}
        events = [b"data: " + json.dumps(chunk).encode() + b"\n\n", b"data: [DONE]\n\n"]
        return StreamingResponse(iter(events), media_type="text/event-stream")
    choice |= {"message": {"role": "assistant", "content": "Yes."}, "text": "Yes."}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice]})


class Patient(Upstream):
    """Where every object has an answer."""

    def __init__(self):
        super().__init__()
        self.app = Starlette(routes=[Route("/v1/{rest:path}", answer, methods=["GET", "POST"])])


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Of a proxy whose cache holds some answers."""
    directory = tmp_path_factory.mktemp("described")
    with answered(directory, upstream=Patient()) as proxied:
        fill(proxied)
        yield proxied.served.url


def left_out(case):
    if case.operation.path in ASKED:
        yield checks.negative_data_rejection
        yield checks.positive_data_acceptance  # not every category that is well written is there
        yield checks.ignored_auth  # takes our token, which is sent all the same, for one that it made up
    if case.operation.method.upper() == "DELETE":
        yield checks.positive_data_acceptance  # which answers are meant has to be said


@schema.parametrize()
@settings(
    max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_every_answer_is_as_described(case, url):
    case.call_and_validate(base_url=url, excluded_checks=list(left_out(case)))
