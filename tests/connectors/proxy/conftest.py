"""A proxy before an upstream of its own, with a cache of exact answers; and OpenAI's client for it."""

from dataclasses import dataclass

import pytest
from openai import OpenAI

from connectors.proxy.answer_cache import Answering, ExactAnswers
from connectors.proxy.computing import Terms
from connectors.proxy.front import Front
from connectors.proxy.upstream import Upstream
from connectors.sidecar.callers import Tokens
from kvstore import Metrics, NoTier, Tiers
from tests.connectors.proxy.openai_like import upstream_serving
from tests.connectors.sidecar.asking import Asking
from tests.connectors.sidecar.serving import serving

ADMIN, OURS, THEIRS = "the admin's own token", "a token of tenant ours", "a token of tenant theirs"


@dataclass(frozen=True)
class Proxied:
    """What stands before what."""

    served: object
    upstream: object
    front: Front
    cache: object

    def client(self, token=ADMIN, **more):
        return OpenAI(base_url=f"{self.served.url}/v1", api_key=token, **{"max_retries": 0, "timeout": 30.0} | more)

    def ask(self, token=ADMIN):
        return Asking(self.served, token)


@pytest.fixture(scope="session")
def lasting_upstream():
    with upstream_serving() as (upstream, url):
        yield upstream, url


@pytest.fixture
def proxied(lasting_upstream):
    with proxying(lasting_upstream) as each:
        yield each


@pytest.fixture
def client(proxied):
    with proxied.client() as each:
        yield each


def proxying(lasting_upstream, cache=None, **of_front):
    """A context manager."""
    return _Proxying(lasting_upstream, cache, of_front)


class _Proxying:
    def __init__(self, lasting_upstream, cache, of_front):
        self._upstream, self._url = lasting_upstream
        self._cache = ExactAnswers() if cache is None else cache
        terms = of_front.pop("terms", Terms())
        upstream = Upstream(self._url, "the key of the upstream", of_front.pop("timeout_s", 20.0))
        answering = Answering(self._cache, self._cache.documents, of_front.pop("load", None))
        self._front = Front(upstream, answering, terms, **of_front)

    def __enter__(self):
        self._upstream.asked.clear()
        self._upstream.headers.clear()
        self._upstream.gate.clear()
        self._upstream.num_gone = self._upstream.num_sent_bytes = 0
        tokens = Tokens(ADMIN, {"ours": OURS, "theirs": THEIRS})
        self._serving = serving(Tiers([NoTier()]), Metrics(), tokens, front=self._front)
        return Proxied(self._serving.__enter__(), self._upstream, self._front, self._cache)

    def __exit__(self, *error):
        self._serving.__exit__(*error)
