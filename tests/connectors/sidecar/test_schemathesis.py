"""The OpenAPI description is true: schemathesis asks for all that is in it, in ways it allows and in others."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi import checks

from connectors.sidecar.app import create_app
from connectors.sidecar.callers import Tokens
from connectors.sidecar.context import Context
from connectors.sidecar.limits import Bodies, Rates
from connectors.sidecar.service import Service
from kvstore import DiskTier, MemoryTier, Metrics, NoTier, Tiers
from tests.connectors.sidecar.asking import Asking
from tests.connectors.sidecar.conftest import ADMIN, CAPACITY_BYTES, OURS
from tests.connectors.sidecar.serving import serving
from tests.connectors.sidecar.sound import sound_prompt

BEYOND_A_SCHEMA = {
    ("PUT", "/v1/frames/{key}"),  # a checksum of the body
    ("POST", "/v1/frames/write"),
    ("PUT", "/v1/profiles/{fingerprint}"),
    ("POST", "/v1/import"),  # an archive
    ("POST", "/v1/delete"),  # keys or filters, and one of them
}
AT_AN_ADDRESS_OF_FRAMES = {"/v1/frames/read", "/v1/frames/write", "/v1/entries/read"}
"""A frame whose key was `read` would be there too, with methods of its own."""


def description():
    service = Service(Tiers([NoTier()]), Metrics())
    try:
        return create_app(Context(service, Tokens(), Rates(0), Bodies(1, 1))).openapi()
    finally:
        service.close()


for medium in ("application/zip", "application/vnd.kvstore.frames"):
    schemathesis.serializer(medium)(lambda context, value: value)
CONFIG = schemathesis.Config.from_dict({"headers": {"Authorization": f"Bearer {ADMIN}"}})
schema = schemathesis.openapi.from_dict(description(), config=CONFIG)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Of a sidecar with tokens that holds a prompt."""
    pair = [MemoryTier(CAPACITY_BYTES), DiskTier(tmp_path_factory.mktemp("described"), CAPACITY_BYTES)]
    with Tiers(pair) as tiers, serving(tiers, tokens=Tokens(ADMIN, {"ours": OURS})) as served:
        for key, frame in zip(*sound_prompt("described", 3), strict=True):
            assert Asking(served, ADMIN).put(key, frame).status == 201
        yield served.url


def left_out(case):
    method, path = case.operation.method.upper(), case.operation.path
    if (method, path) in BEYOND_A_SCHEMA:
        yield checks.positive_data_acceptance
    if path in AT_AN_ADDRESS_OF_FRAMES:
        yield from (checks.unsupported_method, checks.allow_header_conformance)


@schema.parametrize()
@settings(
    max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_every_answer_is_as_described(case, url):
    case.call_and_validate(base_url=url, excluded_checks=list(left_out(case)))
