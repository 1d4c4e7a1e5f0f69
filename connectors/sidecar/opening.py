"""Opening: the service that settings describe, over the store that they describe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from connectors.proxy.front import Front, Terms
from connectors.proxy.upstream import Upstream
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
        yield Front(
            Upstream(proxy.upstream, proxy.key, proxy.timeout_s),
            stack.enter_context(open_answering(settings.semantic)) if answers else None,
            Terms(proxy.max_temperature, proxy.keep_cut_off, proxy.ask_usage),
            proxy.forward_authorization,
            Bodies(proxy.max_request_bytes, max(_ALL_REQUESTS_BYTES, proxy.max_request_bytes)),
        )


def _require_writing(store: KVStore) -> None:
    for tier in store.tier.tiers:
        if isinstance(tier, DiskReader) and not isinstance(tier, DiskTier):
            raise InvalidRequest(
                "another process writes the store's directory: stop it, or have it use this service, with sidecar.url"
            )
