"""The scheduler's side: vLLM's requests and steps in the terms of `plan.py`, and the store's answers brought to it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vllm.config import VllmConfig
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from connectors.settings import Settings, load_settings
from connectors.vllm.identity import owner_of
from connectors.vllm.plan import Plan, Scheduled, Step
from connectors.vllm.store_client import StoreClient
from connectors.vllm.transfer import Done, Handshake

_log = logging.getLogger(__name__)


class SchedulerSide:
    """One engine's requests. Without a store that could be opened it answers that nothing is held."""

    def __init__(self, config: VllmConfig) -> None:
        self._role = config.kv_transfer_config
        self._overrides: dict[str, Any] = self._role.kv_connector_extra_config
        self._settings: Settings = load_settings(overrides=self._overrides)
        self._block_tokens: int = config.cache_config.block_size
        self._client = StoreClient()
        self._plan: Plan | None = None
        self._ended, self._num_ranks = False, 1
        self._copied: Counter[int] = Counter()
        self._prefill: tuple[int, int, float] | None = None
        self.counts: Mapping[str, int] = {}
        """The store's counters, as they were told last."""

    def open(self, handshakes: Mapping[int, Handshake]) -> None:
        """Opens the store for these workers, by tensor-parallel rank; waits for it."""
        ranks = [handshakes[rank] for rank in sorted(handshakes)]
        reason = next((rank.unsupported for rank in ranks if rank.unsupported), None)
        memories = [rank.memory for rank in ranks if rank.memory is not None]
        try:
            if reason is not None:
                raise RuntimeError(reason)
            codec = self._client.open(memories, self._overrides, self._role.is_kv_producer)
        except RuntimeError as error:
            _log.warning("the store is not used: %s", error)
            self._client.close()
            return
        num_slots, self._num_ranks = min(memory.shared.num_slots for memory in memories), len(ranks)
        self._plan = Plan(
            self._client,
            self._settings.store.chunk_tokens,
            self._block_tokens,
            load_slots=range(num_slots // 2),
            save_slots=range(num_slots // 2, num_slots),
            finds=self._role.is_kv_consumer,
            saves=self._role.is_kv_producer,
        )
        _log.info("the store in %s is open, coded with %s", self._settings.store.path, codec)

    def _listen(self) -> Plan | None:
        """The plan, told what the store has answered meanwhile."""
        plan = self._plan
        if plan is None:
            return None
        for kind, fields in self._client.replies():
            self.counts = fields.pop("counts", self.counts)
            if kind == "found":
                plan.found(fields["request"], fields["held"])
            elif kind == "loaded":
                plan.loaded(fields["request"], fields["loaded"], fields["held"])
            else:
                plan.saved(fields["job"])
        if not self._client.alive and not self._ended:
            _log.error("the store's process has ended: the engine goes on without it")
            plan.store_ended()
            self._ended = True
        return plan

    def arrived(self, request: Request) -> None:
        plan, owner = self._listen(), owner_of(request, self._settings.store.tenant)
        if plan is not None and owner is not None:
            plan.arrived(
                request.request_id,
                owner,
                request.all_token_ids,
                request.block_hashes,
                request.num_prompt_tokens,
                reads=not request.skip_reading_prefix_cache,
            )

    def available(self, request: Request, num_computed: int) -> int | None:
        plan = self._listen()
        return 0 if plan is None else plan.available(request.request_id, num_computed)

    def allocated(self, request: Request, blocks: Sequence[int], num_external: int) -> None:
        if self._plan is not None:
            self._plan.allocated(request.request_id, blocks, num_external)

    def step(self, output: SchedulerOutput) -> Step:
        plan = self._listen()
        if plan is None:
            return Step()
        computed = {new.req_id: new.num_computed_tokens for new in output.scheduled_new_reqs}
        cached = output.scheduled_cached_reqs
        computed.update(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        scheduled = {
            name: Scheduled(computed[name], num, output.kv_connector_block_state.get_block_ids(name)[0])
            for name, num in output.num_scheduled_tokens.items()
        }
        self._prefill = None
        if len(scheduled) == 1:
            (only,) = scheduled.values()
            if only.num_scheduled > 1:
                self._prefill = only.num_scheduled, only.num_computed, time.perf_counter()
        return plan.step(scheduled)

    def done(self, done: Done | None) -> None:
        """What the workers have done in a step."""
        if self._prefill is not None:
            num_tokens, context, begun_s = self._prefill
            self._client.computed(num_tokens, context, time.perf_counter() - begun_s)
            self._prefill = None
        plan = self._listen()
        if plan is None or done is None:
            return
        for number in done.failed:
            plan.not_copied(number)
        self._copied.update(done.copied)
        by_all = [number for number, ranks in self._copied.items() if ranks == self._num_ranks]
        for number in by_all:
            del self._copied[number]
        plan.copied(by_all)

    def finished(self, request_id: str) -> None:
        if self._plan is not None:
            self._plan.finished(request_id)

    def close(self) -> None:
        self._client.close()
