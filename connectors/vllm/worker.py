"""The worker's side: copies between the engine's blocks and slots of staging memory, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from vllm.config import VllmConfig
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.v1.kv_cache_interface import KVCacheConfig

from connectors.settings import load_settings
from connectors.vllm.errors import UnsupportedEngine
from connectors.vllm.identity import spec_of
from connectors.vllm.layout import block_tokens_of, layout_of
from connectors.vllm.paged import PagedKV
from connectors.vllm.plan import Copy, Job, Step
from connectors.vllm.staging import Staging
from connectors.vllm.store_client import RankMemory
from connectors.vllm.transfer import Done, Handshake
from kvstore import KVCacheError

_log = logging.getLogger(__name__)


class WorkerSide:
    """One worker's blocks. A copy that fails is reported, and raises nothing."""

    def __init__(self, config: VllmConfig, kv_cache_config: KVCacheConfig) -> None:
        self._config, self._kv_cache_config = config, kv_cache_config
        self._paged: PagedKV | None = None
        self._done = Done()
        self._unreadable: set[int] = set()
        self.handshake = Handshake(unsupported="the engine has registered no KV caches")

    def register(self, caches: Mapping[str, torch.Tensor]) -> None:
        """The engine's KV caches by layer name. Where they cannot be served, `handshake` says why."""
        try:
            settings = load_settings(overrides=self._config.kv_transfer_config.kv_connector_extra_config)
            spec, chunk_tokens = spec_of(self._config, get_tensor_model_parallel_rank()), settings.store.chunk_tokens
            self._block_tokens = block_tokens_of(self._kv_cache_config, spec)
            if chunk_tokens % self._block_tokens:
                raise UnsupportedEngine(
                    f"store.chunk_tokens is {chunk_tokens}, no multiple of the engine's block of {self._block_tokens}"
                )
            self._paged = PagedKV(caches, spec, layout_of(self._config, caches), self._block_tokens)
            self._staging = Staging.create(settings.staging.capacity_bytes, spec, chunk_tokens)
        except (KVCacheError, OSError) as error:
            self.handshake = Handshake(unsupported=str(error))
        else:
            self.handshake = Handshake(RankMemory(spec, self._staging.shared), self._block_tokens)

    def load(self, step: Step) -> None:
        """Fills blocks from slots, before the step's forward pass."""
        for job in step.loads:
            self._do(job, write=True)

    def save(self, step: Step) -> None:
        """Fills slots from blocks, behind the step's forward pass."""
        for job in step.saves:
            self._do(job, write=False)

    def _do(self, job: Job, write: bool) -> None:
        try:
            for copy in job.copies:
                self._copy(copy, write)
        except Exception:  # whatever it is, the engine goes on
            _log.exception("job %d of %d chunks failed", job.number, len(job.copies))
            self._done.failed[job.number] += 1
            if write:
                self._unreadable.update(block for copy in job.copies for block in copy.blocks)
        else:
            self._done.copied[job.number] += 1

    def _copy(self, copy: Copy, write: bool) -> None:
        assert self._paged is not None, "no jobs come before the blocks are registered"
        kv = self._staging.slots[copy.slot].tokens(copy.start, copy.start + len(copy.blocks) * self._block_tokens)
        if write:
            self._paged.write(kv, copy.blocks)
        else:
            self._paged.read(copy.blocks, kv)

    def take_unreadable(self) -> set[int]:
        """Blocks that hold nothing right, since it was asked last."""
        blocks, self._unreadable = self._unreadable, set()
        return blocks

    def take_done(self) -> Done | None:
        """Jobs done since it was asked last."""
        done, self._done = self._done, Done()
        return done if done.copied or done.failed else None
