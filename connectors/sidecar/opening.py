"""Opening: the service that settings describe, over the store that they describe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from connectors.proxy.answer_cache import Answering
from connectors.proxy.computing import Terms
from connectors.proxy.front import Front
from connectors.proxy.stand_in import StandIn
from connectors.proxy.upstream import Upstream
from connectors.setting_tables import ProxySettings
from connectors.settings import Settings, build_store
from connectors.sidecar.callers import Tokens
from connectors.sidecar.context import Context
from connectors.sidecar.limits import Bodies, Rates
from connectors.sidecar.service import Service
from kvstore import DiskReader, DiskTier, InvalidRequest, KVStore

_ALL_BODIES_BYTES, _ALL_REQUESTS_BYTES = 1 << 30, 256 << 20


@contextmanager
def open_context(settings: Settings) -> Iterator[Context]:
    """Open until the `with` is left; what waits to be written is written then.

    Raises InvalidRequest when another process writes the store's directory, or a token is not one, and
    TierUnavailable when the directory cannot be opened.
    """
    sidecar = settings.sidecar
    tokens = Tokens(sidecar.admin_token, settings.tokens)
    own = replace(settings, sidecar=replace(sidecar, url=""))  # that is for engines, which may share the file
    with build_store(own) as store:
        _require_writing(store)
        service = Service(store.tier, store.metrics)
        try:
            bodies = Bodies(sidecar.max_frame_bytes, max(_ALL_BODIES_BYTES, sidecar.max_frame_bytes))
            with _front(settings) as front:
                context = Context(service, tokens, Rates(sidecar.requests_per_s), bodies, front=front)
                with context.history.kept():
                    yield context
        finally:
            service.close()


@contextmanager
def _front(settings: Settings) -> Iterator[Front | None]:
    """Connects to nothing yet."""
    proxy = settings.proxy
    if not proxy.upstream:
        yield None
        return
    from connectors.answering import open_answering  # an index, a judge: only a proxy needs them

    with ExitStack() as stack:
        answers = settings.semantic.capacity_bytes > 0
        answering = stack.enter_context(open_answering(settings.semantic)) if answers else None
        yield Front(
            Upstream(proxy.upstream, proxy.key, proxy.timeout_s),
            answering,
            Terms(proxy.max_temperature, proxy.keep_cut_off, proxy.ask_usage),
            proxy.forward_authorization,
            Bodies(proxy.max_request_bytes, max(_ALL_REQUESTS_BYTES, proxy.max_request_bytes)),
            _stand_in(proxy, answering),
        )


def _stand_in(proxy: ProxySettings, answering: Answering | None) -> StandIn | None:
    """Raises InvalidRequest where a small model is named that could not be asked, or not rightly."""
    if not proxy.small_model:
        if proxy.small_upstream:
            raise InvalidRequest("proxy.small_upstream is set, and no model of it: set proxy.small_model too")
        return None
    if answering is None:
        raise InvalidRequest("proxy.small_model is shown answers that are kept: set semantic.capacity_bytes above 0")
    if proxy.forward_authorization:
        raise InvalidRequest(
            "proxy.small_model would answer whomever the upstream refuses: leave out proxy.forward_authorization"
        )
    url = proxy.small_upstream or proxy.upstream
    key = proxy.small_key or (proxy.key if url == proxy.upstream else "")
    upstream = Upstream(url, key, proxy.small_timeout_s)
    return StandIn(upstream, proxy.small_model, answering, proxy.small_compared)


def _require_writing(store: KVStore) -> None:
    for tier in store.tier.tiers:
        if isinstance(tier, DiskReader) and not isinstance(tier, DiskTier):
            raise InvalidRequest(
                "another process writes the store's directory: stop it, or have it use this service, with sidecar.url"
            )
