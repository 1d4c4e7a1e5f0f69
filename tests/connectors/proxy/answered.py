"""A proxy with a real cache of answers on disk, and some in it: what its commands and its page are tested before."""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.answering import open_answering
from connectors.proxy.answer_cache import Answering
from connectors.proxy.computing import Terms
from connectors.proxy.front import Front
from connectors.proxy.upstream import Upstream
from connectors.setting_tables import SemanticSettings
from connectors.sidecar.callers import Tokens
from kvstore import Metrics, NoTier, Tiers
from tests.connectors.proxy.conftest import ADMIN, OURS, THEIRS
from tests.connectors.proxy.openai_like import upstream_serving
from tests.connectors.sidecar.asking import Asking, wait_until
from tests.connectors.sidecar.serving import serving

TOKENS = Tokens(ADMIN, {"ours": OURS, "theirs": THEIRS})
HOSTILE = '<img src=x onerror="document.title=1"> \x1b[31m[bold]'


@dataclass(frozen=True)
class Answered:
    """What is served, and the cache behind it."""

    served: object
    answering: Answering
    upstream: object

    def ask(self, question, category, token=OURS, model="plain"):
        """As a client does; whether the answer came from the cache."""
        body = {"model": model, "messages": [{"role": "user", "content": question}]}
        headers = {"Content-Type": "application/json", "x-kvstore-category": category}
        answer = Asking(self.served, token)("POST", "/v1/chat/completions", json.dumps(body), headers)
        assert answer.status == 200, answer
        return answer.headers["x-kvstore-cache"] == "hit"

    def held(self):
        """The questions that have an answer."""
        documents = self.answering.documents
        return [documents.get(held.id).query.text for held in documents.held()]

    def wait_for(self, number):
        """Answers are kept behind the caller's back."""
        wait_until(lambda: len(list(self.answering.documents.held())) == number)

    def certify(self, category, number=2000):
        """Has so many neighbours explored, all of them right."""
        for _ in range(number):
            ruling, _ = self.answering.cache.certifiers.choose(category, 0.97)
            self.answering.cache.certifiers.observe(category, 0.97, True, ruling)


@contextmanager
def answered(path: Path, tokens=TOKENS, tiers=None, metrics=None, upstream=None, embedder="lexical"):
    """Serves a proxy whose answers lie in `path`, embedded by their words unless said otherwise."""
    tiers = Tiers([NoTier()]) if tiers is None else tiers
    with (
        upstream_serving(upstream) as (upstream, upstream_url),
        open_answering(SemanticSettings(path, embedder=embedder)) as answering,
    ):
        front = Front(Upstream(upstream_url, "the key of the upstream", 20.0), answering, Terms())
        with serving(tiers, metrics or Metrics(), tokens, front=front) as served:
            yield Answered(served, answering, upstream)


def fill(proxied):
    """Four answers of two tenants in two categories, one of them given twice, and one category that is certified."""
    for number in range(2):
        proxied.ask(f"How do I return parcel {number}?", "support")
        proxied.wait_for(number + 1)  # in this order
    proxied.ask("Write a loop", "code")
    proxied.wait_for(3)
    proxied.ask(HOSTILE, "support", THEIRS)
    proxied.wait_for(4)
    assert proxied.ask("Write a loop", "code")
    proxied.certify("support")
