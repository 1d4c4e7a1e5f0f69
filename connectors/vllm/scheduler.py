"""The scheduler's side: vLLM's requests and steps in the terms of `plan.py`, and the store's answers brought to it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from vllm.config import VllmConfig
from vllm.distributed.kv_events import BlockStored
from vllm.v1.core.kv_cache_utils import maybe_convert_block_hash
from vllm.v1.core.sched.output import KVConnectorBlockState, SchedulerOutput
from vllm.v1.request import Request

from connectors.settings import Settings, load_settings
from connectors.vllm.identity import owner_of
from connectors.vllm.plan import Job, Plan, Scheduled, Step
from connectors.vllm.stats import StoreStats
from connectors.vllm.store_client import StoreClient
from connectors.vllm.transfer import Done, Handshake

_log = logging.getLogger(__name__)


class SchedulerSide:
    """One engine's requests. Without a store that could be opened it answers that nothing is held."""

    def __init__(self, config: VllmConfig) -> None:
        self._role = config.kv_transfer_config
        self._overrides: dict[str, Any] = self._role.kv_connector_extra_config
        self._settings: Settings = load_settings(overrides=self._overrides)
        self._block_tokens = 0
        self._client = StoreClient()
        self._plan: Plan | None = None
        self._ended, self._num_ranks = False, 1
        self._copied: Counter[int] = Counter()
        self._prefill: tuple[int, int, float] | None = None
        self._counts: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._requests: dict[str, Request] = {}
        self._tells_events = bool(config.kv_events_config and config.kv_events_config.enable_kv_cache_events)
        self._events: dict[int, BlockStored] = {}  # of saves under way
        self._stored: list[BlockStored] = []

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
        self._block_tokens = ranks[0].block_tokens
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
        ended = not self._client.alive  # asked before: what it said last still comes
        for kind, fields in self._client.replies():
            self._counts = Counter(fields.pop("counts", self._counts))
            if kind == "found":
                plan.found(fields["request"], fields["held"])
            elif kind == "loaded":
                plan.loaded(fields["request"], fields["loaded"], fields["held"])
            else:
                self._saved(plan, **fields)
        if ended and not self._ended:
            _log.error("the store's process has ended: the engine goes on without it")
            plan.store_ended()
            self._ended = True
        return plan

    def _saved(self, plan: Plan, job: int, kept: bool) -> None:
        plan.saved(job)
        event = self._events.pop(job, None)
        if event is not None and kept:
            self._stored.append(event)

    def arrived(self, request: Request) -> None:
        plan, owner = self._listen(), owner_of(request, self._settings.store.tenant)
        if plan is not None and owner is not None:
            self._requests[request.request_id] = request
            plan.arrived(
                request.request_id,
                owner,
                request.all_token_ids,
                request.block_hashes,
                reads=not request.skip_reading_prefix_cache,
            )

    def available(self, request: Request, num_computed: int) -> int | None:
        plan = self._listen()
        return 0 if plan is None else plan.available(request.request_id, num_computed)

    def allocated(self, request: Request, blocks: Sequence[int], num_external: int) -> None:
        if self._plan is not None:
            self._plan.allocated(request.request_id, blocks, num_external)

    def step(self, output: SchedulerOutput) -> Step:
        """Whatever goes wrong with saving, the loads are in it: their tokens were promised."""
        if self._plan is None:
            return Step()
        loads = self._plan.take_loads()
        try:
            return Step(loads, self._saves(self._plan, output))
        except Exception:
            _log.exception("nothing is saved of this step")
            return Step(loads)

    def _saves(self, plan: Plan, output: SchedulerOutput) -> tuple[Job, ...]:
        self._listen()
        cached = output.scheduled_cached_reqs
        computed = dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        computed.update((new.req_id, new.num_computed_tokens) for new in output.scheduled_new_reqs)
        blocks = output.kv_connector_block_state
        scheduled = {
            name: Scheduled(computed[name], num_tokens, partial(_only_group, blocks, name))
            for name, num_tokens in output.num_scheduled_tokens.items()
        }
        self._prefill = None
        if num_prompt := sum(self._of_prompt(name, step) for name, step in scheduled.items()):
            self._client.prompt_computed(num_prompt)
        if len(scheduled) == 1:
            (only,) = scheduled.values()
            if only.num_scheduled > 1:
                self._prefill = only.num_scheduled, only.num_computed, time.perf_counter()
        saves = plan.saves(scheduled)
        if self._tells_events:
            self._events.update((job.number, self._event(job)) for job in saves)
        return saves

    def _of_prompt(self, name: str, step: Scheduled) -> int:
        """How many of the step's tokens are the request's prompt's."""
        request = self._requests.get(name)
        end = 0 if request is None else request.num_prompt_tokens
        return max(min(step.num_computed + step.num_scheduled, end) - step.num_computed, 0)

    def _event(self, job: Job) -> BlockStored:
        request, first = self._requests[job.request_id], job.start // self._block_tokens
        end = first + sum(len(copy.blocks) for copy in job.copies)
        hashes = [maybe_convert_block_hash(name) for name in request.block_hashes[max(first - 1, 0) : end]]
        lora = request.lora_request
        return BlockStored(
            block_hashes=hashes[1:] if first else hashes,
            parent_block_hash=hashes[0] if first else None,
            token_ids=request.all_token_ids[job.start : end * self._block_tokens],
            block_size=self._block_tokens,
            lora_id=lora.adapter_id if lora else None,
            medium="STORAGE",
            lora_name=lora.name if lora else None,
        )

    def take_events(self) -> list[BlockStored]:
        """Of what was saved since it was asked last."""
        events, self._stored = self._stored, []
        return events

    def take_stats(self) -> StoreStats | None:
        """How much the counters have grown since it was asked last."""
        if self._plan is None:
            return None
        counts = self._counts + self._plan.counts
        grown, self._told = counts - self._told, counts
        return StoreStats(dict(grown)) if grown else None

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
        self._requests.pop(request_id, None)
        if self._plan is not None:
            self._plan.finished(request_id)

    def close(self) -> None:
        self._client.close()


def _only_group(blocks: KVConnectorBlockState, request_id: str) -> Sequence[int]:
    """The request's block ids."""
    ids: Sequence[int]
    (ids,) = blocks.get_block_ids(request_id)
    return ids
