"""The store's counters in vLLM's log and on its /metrics page, as `vllm:kvstore_<name>`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import prometheus_client
from vllm.config import VllmConfig
from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats
from vllm.v1.metrics.utils import create_metric_per_engine

from kvstore.metrics import NAMES

PLANNED = {
    "tokens_promised": "prompt tokens that the engine had from the store",
    "chunks_not_saved": "chunks not saved because the staging memory was full",
    "waits_given_up": "requests computed because the store did not answer in time",
}
"""Counters of the connector itself, beside those of the store."""


class StoreStats(KVConnectorStats):
    """`data`: how much each counter has grown."""

    def reset(self) -> None:
        self.data: dict[str, int] = {}

    def aggregate(self, other: KVConnectorStats) -> KVConnectorStats:
        return StoreStats(dict(Counter(self.data) + Counter(other.data)))

    def reduce(self) -> dict[str, int | float]:
        return dict(self.data)

    def is_empty(self) -> bool:
        return not self.data


class StorePromMetrics(KVConnectorPromMetrics):
    """A counter for each of the store's and the connector's."""

    def __init__(
        self, vllm_config: VllmConfig, metric_types: Any, labelnames: list[str], per_engine_labelvalues: Any
    ) -> None:
        super().__init__(vllm_config, metric_types, labelnames, per_engine_labelvalues)
        counter = metric_types[prometheus_client.Counter]
        self._counters = {
            name: create_metric_per_engine(
                counter(name=f"vllm:kvstore_{name}", documentation=meaning, labelnames=labelnames),
                per_engine_labelvalues,
            )
            for name, meaning in {**NAMES, **PLANNED}.items()
        }

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        for name, amount in transfer_stats_data.items():
            self._counters[name][engine_idx].inc(amount)
