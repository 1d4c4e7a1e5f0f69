"""KVStoreConnector: what vLLM creates, once in its scheduler and once in each worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from vllm.config import VllmConfig
from vllm.distributed.kv_events import BlockStored
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorHandshakeMetadata,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorWorkerMetadata,
    SupportsHMA,
)
from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats
from vllm.v1.core.kv_cache_manager import KVCacheBlocks
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.kv_cache_interface import KVCacheConfig
from vllm.v1.outputs import KVConnectorOutput
from vllm.v1.request import Request

from connectors.vllm.scheduler import SchedulerSide
from connectors.vllm.stats import StorePromMetrics, StoreStats
from connectors.vllm.transfer import Done, Handshake, StepMetadata
from connectors.vllm.versions import require_supported
from connectors.vllm.worker import WorkerSide

_log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])


def _never_raises(otherwise: Callable[[], object]) -> Callable[[F], F]:
    """Whatever goes wrong in our scheduling is logged, and the engine goes on as if nothing were held."""

    def decorate(method: F) -> F:
        @wraps(method)
        def guarded(*given: Any) -> Any:
            try:
                return method(*given)
            except Exception:
                _log.exception("%s failed; the engine goes on without its answer", method.__name__)
                return otherwise()

        return cast(F, guarded)

    return decorate


class KVStoreConnector(KVConnectorBase_V1, SupportsHMA):
    """Settings come from `kv_connector_extra_config`, the environment and the settings file, in this order."""

    def __init__(self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig) -> None:
        require_supported()
        super().__init__(vllm_config=vllm_config, role=role, kv_cache_config=kv_cache_config)
        self._scheduler = SchedulerSide(vllm_config) if role is KVConnectorRole.SCHEDULER else None
        self._worker = WorkerSide(vllm_config, kv_cache_config) if role is KVConnectorRole.WORKER else None

    @property
    def requires_kv_delivery(self) -> bool:
        """A save that was dropped is a miss later on."""
        return False

    # Scheduler

    def set_xfer_handshake_metadata_pp_aware(
        self, metadata: dict[tuple[int, int], KVConnectorHandshakeMetadata]
    ) -> None:
        """Where there are several stages of a pipeline, every worker's handshake declines."""
        ranks = {rank: handshake for (_, rank), handshake in metadata.items() if isinstance(handshake, Handshake)}
        self._scheduler_side.open(ranks)

    @_never_raises(lambda: None)
    def on_new_request(self, request: Request) -> None:
        self._scheduler_side.arrived(request)

    @_never_raises(lambda: (0, False))
    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int) -> tuple[int | None, bool]:
        return self._scheduler_side.available(request, num_computed_tokens), False

    # A load that was promised and then lost would be wrong tokens: what fails here, and below, is not passed over.
    def update_state_after_alloc(self, request: Request, blocks: KVCacheBlocks, num_external_tokens: int) -> None:
        self._scheduler_side.allocated(request, blocks.get_block_ids()[0], num_external_tokens)

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> KVConnectorMetadata:
        return StepMetadata(self._scheduler_side.step(scheduler_output))

    @_never_raises(lambda: None)
    def update_connector_output(self, connector_output: KVConnectorOutput) -> None:
        done = connector_output.kv_connector_worker_meta
        self._scheduler_side.done(done if isinstance(done, Done) else None)

    @_never_raises(lambda: (False, None))
    def request_finished_all_groups(
        self, request: Request, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        self._scheduler_side.finished(request.request_id)
        return False, None

    def take_events(self) -> Iterable[BlockStored]:
        return self._scheduler_side.take_events()

    @classmethod
    def build_kv_connector_stats(cls, data: dict[str, Any] | None = None) -> KVConnectorStats:
        return StoreStats(data or {})

    @classmethod
    def build_prom_metrics(
        cls, vllm_config: VllmConfig, metric_types: Any, labelnames: list[str], per_engine_labelvalues: Any
    ) -> KVConnectorPromMetrics:
        return StorePromMetrics(vllm_config, metric_types, labelnames, per_engine_labelvalues)

    def get_kv_connector_stats(self) -> KVConnectorStats | None:
        """Of the scheduler's side; workers count nothing."""
        return self._scheduler.take_stats() if self._scheduler is not None else None

    # Worker

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        self._worker_side.register(kv_caches)

    def get_handshake_metadata(self) -> KVConnectorHandshakeMetadata | None:
        return self._worker_side.handshake

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        self._worker_side.load(self._step.step)

    def wait_for_layer_load(self, layer_name: str) -> None:
        return

    def save_kv_layer(self, layer_name: str, kv_layer: torch.Tensor, attn_metadata: Any, **kwargs: Any) -> None:
        return

    def wait_for_save(self) -> None:
        self._worker_side.save(self._step.step)

    def get_block_ids_with_load_errors(self) -> set[int]:
        return self._worker_side.take_unreadable()

    def build_connector_worker_meta(self) -> KVConnectorWorkerMetadata | None:
        return self._worker_side.take_done()

    def shutdown(self) -> None:
        if self._scheduler is not None:
            self._scheduler.close()

    @property
    def _step(self) -> StepMetadata:
        metadata = self._get_connector_metadata()
        assert isinstance(metadata, StepMetadata)
        return metadata

    @property
    def _scheduler_side(self) -> SchedulerSide:
        assert self._scheduler is not None, "asked of a worker"
        return self._scheduler

    @property
    def _worker_side(self) -> WorkerSide:
        assert self._worker is not None, "asked of the scheduler"
        return self._worker
