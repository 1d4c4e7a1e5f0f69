"""What Prometheus is told: what requests took, and at every scrape what the service, its tiers and engines counted.

Nothing here walks over what is held, and no label is a tenant, a key or anything else of which there may be many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from connectors.proxy.front import ANSWERED
from connectors.sidecar.context import Context
from connectors.sidecar.reports import RUNGS
from kvstore import TierState
from kvstore.metrics import NAMES

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


_Family = type[GaugeMetricFamily] | type[CounterMetricFamily]
_OF_TIER: Sequence[tuple[_Family, str, str, Callable[[TierState], float | None]]] = (
    (GaugeMetricFamily, "up", "1 while a tier answers", lambda tier: tier.problem is None),
    (GaugeMetricFamily, "bytes", "bytes of the frames that a tier holds", attrgetter("size_bytes")),
    (GaugeMetricFamily, "capacity_bytes", "bytes of frames a tier may hold", attrgetter("capacity_bytes")),
    (GaugeMetricFamily, "chunks", "chunks that a tier holds", attrgetter("chunks")),
    (CounterMetricFamily, "chunks_asked", "chunks looked up that no faster tier held", attrgetter("chunks_asked")),
    (CounterMetricFamily, "chunks_held", "chunks looked up that this tier held", attrgetter("chunks_held")),
)
"""What is said of each tier, where it is known."""


class Instruments:
    """Of one application."""

    def __init__(self, context: Context) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Counted(context))
        of_request = ["method", "route", "status"]
        self._seconds = Histogram(
            "kvstore_request_seconds",
            "how long requests took, by route and class of status",
            of_request,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._received = Counter(
            "kvstore_received_bytes", "bytes of requests' bodies", ["route"], registry=self._registry
        )
        self._sent = Counter("kvstore_sent_bytes", "bytes of answers' bodies", ["route"], registry=self._registry)
        self._of_request: dict[tuple[str, str, int], tuple[Any, Any, Any]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """A request was answered, or not to its end."""
        request = method, route, status // 100
        found = self._of_request.get(request)
        if found is None:
            timed = self._seconds.labels(method, route, f"{status // 100}xx")
            found = self._of_request[request] = timed, self._received.labels(route), self._sent.labels(route)
        timed, received, sent = found
        timed.observe(seconds)
        if bytes_in:
            received.inc(bytes_in)
        sent.inc(bytes_out)

    def text(self) -> bytes:
        """All of it in Prometheus' text format. May wait for a disk."""
        text: bytes = generate_latest(self._registry)
        return text


class _Counted:
    """What is counted elsewhere, read at every scrape."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def describe(self) -> Iterable[Metric]:
        return []  # registering asks nobody for numbers

    def collect(self) -> Iterator[Metric]:
        yield from self._of_service()
        yield from self._of_tiers()
        yield from self._of_engines()
        yield from self._of_proxy()

    def _of_service(self) -> Iterator[Metric]:
        service = self._context.service
        for name, count in service.metrics.snapshot().items():
            yield CounterMetricFamily(f"kvstore_{name}", NAMES[name], value=count)
        yield GaugeMetricFamily(
            "kvstore_waiting_bytes", "bytes of frames on their way below the fastest tier", service.behind.waiting_bytes
        )
        yield GaugeMetricFamily("kvstore_leases", "leases there are", len(service.leases))
        yield GaugeMetricFamily("kvstore_requests_under_way", "requests being answered", self._context.under_way)
        yield GaugeMetricFamily("kvstore_draining", "whether the service is about to end", self._context.draining)

    def _of_tiers(self) -> Iterator[Metric]:
        tiers, given = self._context.service.tiers, self._context.service.given
        hits = CounterMetricFamily("kvstore_tier_frames_given", "frames the sidecar gave from a tier", labels=["tier"])
        for name, number in given.items():
            hits.add_metric([name], number)
        breakers = GaugeMetricFamily(
            "kvstore_breaker_open",
            "1 while a tier that failed is not asked to read, or to write",
            labels=["tier", "verb"],
        )
        seconds = GaugeMetricFamily(
            "kvstore_tier_seconds", "that the last frames took to come from a tier", labels=["tier", "quantile"]
        )
        states = tiers.states()
        for state in states:
            breakers.add_metric([state.name, "read"], state.reads_held_off)
            breakers.add_metric([state.name, "write"], state.writes_held_off)
            if state.median_s is not None and state.p99_s is not None:
                seconds.add_metric([state.name, "0.5"], state.median_s)
                seconds.add_metric([state.name, "0.99"], state.p99_s)
        yield from (hits, breakers, seconds)
        for kind, name, meaning, value_of in _OF_TIER:
            family = kind(f"kvstore_tier_{name}", meaning, labels=["tier"])
            for state in states:
                if (value := value_of(state)) is not None:
                    family.add_metric([state.name], value)
            yield family

    def _of_engines(self) -> Iterator[Metric]:
        reports = self._context.reports
        yield GaugeMetricFamily("kvstore_engines", "engines heard of lately", len(reports.engines(None)))
        tokens = CounterMetricFamily(
            "kvstore_engine_tokens", "prompt tokens of engines, by what became of them", labels=["model", "rung"]
        )
        spent = CounterMetricFamily(
            "kvstore_engine_seconds",
            "seconds engines spent loading, and what computing the same is expected to take",
            labels=["model", "of"],
        )
        events = CounterMetricFamily("kvstore_engine_events", "what engines counted, by its name", labels=["event"])
        sums = reports.by_model(None)
        for model, counts in sums.items():
            for rung, name in RUNGS.items():
                tokens.add_metric([model, rung], counts[name])
            spent.add_metric([model, "loading"], counts["loading_ms"] / 1000)
            spent.add_metric([model, "computing_spared"], counts["computing_spared_ms"] / 1000)
        for name in NAMES:
            events.add_metric([name], sum(counts[name] for counts in sums.values()))
        yield from (tokens, spent, events)

    def _of_proxy(self) -> Iterator[Metric]:
        front = self._context.front
        if front is None:
            return
        answers = CounterMetricFamily(
            "kvstore_proxy_answers",
            "answers to OpenAI clients: held (exact, semantic), computed (miss, small, bypass) or shared with another",
            labels=["from"],
        )
        for name in ANSWERED:
            answers.add_metric([name], front.counts[name])
        yield answers
        for name, said in (
            ("not_kept", "answers that were not whole, or are not to be given again"),
            ("cache_unavailable", "times that the cache of answers could not be asked"),
        ):
            yield CounterMetricFamily(f"kvstore_proxy_{name}", said, front.counts[name])
        for name, said in (
            ("small_failed", "times that the small model did not answer, and the large one was asked"),
            ("compared", "answers of the small model that were compared with the large one's"),
            ("replayed", "examples that were computed again"),
        ):
            counted = 0 if front.stand_in is None else front.stand_in.counts[name]
            yield CounterMetricFamily(f"kvstore_proxy_{name}", said, counted)
